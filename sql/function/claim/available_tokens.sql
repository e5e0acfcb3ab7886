-- available_tokens returns how many jobs a rate limit allows to start now, with fractions. It returns null if there
-- is no rate.
-- Moves nothing. Index: bucket's primary key.
create or replace function pawl.available_tokens(queue text, of_channel boolean, channel text, rate jsonb)
returns double precision
language sql volatile as $$
  select case when available_tokens.rate is not null then coalesce(
    (select least((available_tokens.rate ->> 'burst')::double precision,
                  b.tokens + greatest(extract(epoch from clock_timestamp() - b.at), 0)
                             * (available_tokens.rate ->> 'n')::double precision
                             / (available_tokens.rate ->> 'per')::double precision)
     from pawl.bucket b
     where b.queue = available_tokens.queue and b.of_channel = available_tokens.of_channel
       and b.channel = available_tokens.channel),
    (available_tokens.rate ->> 'burst')::double precision) end
$$;
