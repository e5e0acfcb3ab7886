-- limit_quotas returns what a claim may take of limited queues, given what it asks for.
--   limited   those of the claim's queues that have limits. The other parameters are those of claim
--   asked     the quotas of the claim
-- Returns the quotas, and for each part of a lane that a limit cut short the seconds until the caller should ask
-- again, else null.
-- It locks the mutex of each queue, so that claims of a limited queue run one after the other. A queue whose mutex
-- another claim has locked gives nothing.
-- Index: the primary keys of permit, bucket and ready. It counts running jobs, not waiting ones.
-- Survives: two claims at once (the mutex is locked in a statement before the permits are counted, and is kept until
-- the end of the claim).
create or replace function pawl.limit_quotas(
  limited text[], queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[],
  asked integer[]
) returns table (quotas integer[], waits double precision[])
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_variable
declare
  soon constant double precision := 0.05;
  name    text;
  policy  record;
  room    double precision;
  again   double precision; -- seconds until the queue has room
  own     double precision; -- seconds until the channel has room
  left_in jsonb;            -- {channel: [its room]}
  fits    double precision;
  tickets integer;
begin
  quotas := asked;
  waits := array_fill(null::double precision, array[cardinality(quotas)]);
  foreach name in array limited loop
    if not pawl.try_mutex('limit', name, '') then
      for i in 1 .. cardinality(quotas) loop
        if queues[i] = name then
          quotas[i] := 0; waits[i] := 0.002;
        end if;
      end loop;
      continue;
    end if;
    select q.max_running, q.channel_max_running, q.rate, q.channel_rate into policy
    from pawl.queue q where q.name = name;
    if not (pawl.is_rate(policy.rate) and pawl.is_rate(policy.channel_rate)) then
      for i in 1 .. cardinality(quotas) loop
        if queues[i] = name then
          quotas[i] := 0; waits[i] := 1;
        end if;
      end loop;
      continue;
    end if;
    room := 'infinity'; again := soon;
    if policy.max_running is not null then
      room := greatest(policy.max_running - (select count(*) from pawl.permit p where p.queue = name), 0);
    end if;
    if policy.rate is not null then
      fits := pawl.available_tokens(name, false, '', policy.rate);
      if fits < room then
        room := floor(fits + 1e-9);
        again := greatest((1 - (fits - floor(fits))) * (policy.rate ->> 'per')::double precision
                            / (policy.rate ->> 'n')::double precision, 0.001);
      end if;
    end if;
    left_in := '{}';
    for i in 1 .. cardinality(quotas) loop
      continue when queues[i] <> name;
      fits := least(quotas[i], room);
      own := again;
      if policy.channel_max_running is not null or policy.channel_rate is not null then
        if not left_in ? channels[i] then
          left_in := left_in || jsonb_build_object(channels[i], jsonb_build_array(
            least(
              case when policy.channel_max_running is not null then greatest(
                policy.channel_max_running
                  - (select count(*) from pawl.permit p where p.queue = name and p.channel = channels[i]), 0)
              end,
              floor(pawl.available_tokens(name, true, channels[i], policy.channel_rate) + 1e-9),
              1e9)::numeric)); -- extra_float_digits would round the text of a double.
        end if;
        if (left_in -> channels[i] ->> 0)::double precision < fits then
          fits := (left_in -> channels[i] ->> 0)::double precision;
          own := case when policy.channel_rate is null then soon
                      else greatest((policy.channel_rate ->> 'per')::double precision
                                      / (policy.channel_rate ->> 'n')::double precision, 0.001) end;
        end if;
      end if;
      if fits < quotas[i] then
        waits[i] := own;
      end if;
      if fits > 0 then
        -- No more than the tickets that exist, so that what this channel does not use is left to the next.
        select count(*) into tickets
        from (
          select from pawl.ready t
          where t.queue = name and t.priority = priorities[i] and t.channel = channels[i]
            and t.pos > marks[i] and t.pos <= untils[i]
          limit fits::integer
        ) r;
        if tickets < fits then
          waits[i] := null;
        end if;
        fits := tickets;
      end if;
      quotas[i] := fits;
      room := room - fits;
      if left_in ? channels[i] then
        left_in := left_in || jsonb_build_object(
          channels[i], jsonb_build_array((left_in -> channels[i] ->> 0)::numeric - fits::numeric));
      end if;
    end loop;
  end loop;
  return next;
end $$;
