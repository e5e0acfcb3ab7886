-- tokens: how many starts a rate allows now, with fractions; null where there is no rate. Moves nothing.
create or replace function pawl.tokens(queue text, of_channel boolean, channel text, rate jsonb) returns double precision
language sql volatile as $$
  select case when tokens.rate is not null then coalesce(
    (select least((tokens.rate ->> 'burst')::double precision,
                  b.tokens + greatest(extract(epoch from clock_timestamp() - b.at), 0)
                             * (tokens.rate ->> 'n')::double precision / (tokens.rate ->> 'per')::double precision)
     from pawl.bucket b
     where b.queue = tokens.queue and b.of_channel = tokens.of_channel and b.channel = tokens.channel),
    (tokens.rate ->> 'burst')::double precision) end
$$;
