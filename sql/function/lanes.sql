-- lanes: find lanes with tickets in ready inside the given gaps, and queues with tickets in scheduled that are not known yet.
--   lows, highs   the gaps: lanes strictly between (low_queue, low_priority, low_channel) and (high_…); the caller leaves out
--                 the lanes it knows, because below a known lane's mark lie the dead tickets a scan would walk over
--   queues        known or chosen queues; any_queue: look for others in scheduled
-- Moves nothing. Returns lanes, and queues with priority null. Index: a loose scan over the primary keys, one descent a lane.
create or replace function pawl.lanes(
  low_queues text[], low_priorities integer[], low_channels text[], high_queues text[], high_priorities integer[], high_channels text[],
  queues text[], any_queue boolean
) returns table (queue text, priority integer, channel text)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_variable
declare
  high_queue text; high_priority integer; high_channel text; known text[]; found_one boolean;
begin
  for i in 1 .. cardinality(low_queues) loop
    queue := low_queues[i]; priority := low_priorities[i]; channel := low_channels[i];
    high_queue := high_queues[i]; high_priority := high_priorities[i]; high_channel := high_channels[i];
    loop
      select t.queue, t.priority, t.channel, true
      into queue, priority, channel, found_one
      from pawl.ready t
      where (t.queue, t.priority, t.channel, t.pos) > (queue, priority, channel, 9223372036854775807)
        and (t.queue, t.priority, t.channel) < (high_queue, high_priority, high_channel)
      order by t.queue, t.priority, t.channel, t.pos
      limit 1;
      exit when found_one is null;
      return next;
    end loop;
  end loop;
  if not any_queue then
    return;
  end if;
  priority := null; channel := null;
  known := array(select distinct u.q from unnest(queues) u (q) order by 1);
  for i in 0 .. cardinality(known) loop
    queue := case when i = 0 then '' else known[i] end;
    high_queue := case when i < cardinality(known) then known[i + 1] else U&'\+10FFFF' end;
    loop
      select s.queue, true
      into queue, found_one
      from pawl.scheduled s
      where (s.queue, s.run_at) > (queue, 'infinity') and s.queue < high_queue
      order by s.queue, s.run_at
      limit 1;
      exit when found_one is null;
      return next;
    end loop;
  end loop;
end $$;
