-- discover_lanes finds lanes with tickets in ready inside the given gaps, and queues with tickets in scheduled that
-- the caller does not know yet.
--   lows, highs   the gaps: lanes strictly between (low_queue, low_priority, low_channel) and (high_…). The caller
--                 leaves out the lanes it knows, because a scan would read every dead ticket below the mark of such
--                 a lane
--   queues        the queues that the caller knows or serves
--   any_queue     look for other queues in scheduled
--   most          how many lanes to return at most; null: all. With that many, the search has ended at the last one
-- Moves nothing. Returns lanes, and queues with priority null.
-- Index: a loose scan over the primary keys, one descent for each lane.
-- A gap is searched in steps: the rest of a priority, the rest of a queue, the queues between, and down to the end
-- of the gap. Each step is bounded in one column while the columns before it are equal, because only such a bound
-- ends the scan of a b-tree. One row comparison as the bound is correct too, but the scan then reads every dead
-- ticket of the lane to leave out.
create or replace function pawl.discover_lanes(
  low_queues text[], low_priorities integer[], low_channels text[],
  high_queues text[], high_priorities integer[], high_channels text[],
  queues text[], any_queue boolean, most integer default null
) returns table (queue text, priority integer, channel text)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_variable
declare
  top_channel  constant text    := chr(1114111); -- U+10FFFF.
  top_priority constant integer := 2147483647;
  high_queue text; high_priority integer; high_channel text;
  pos   bigint; -- the search goes on above (queue, priority, channel, pos)
  top   text;
  below integer;
  hit   record;
  n     integer := 0;
  known text[];
begin
  for i in 1 .. cardinality(low_queues) loop
    queue := low_queues[i]; priority := low_priorities[i]; channel := low_channels[i]; pos := 9223372036854775807;
    high_queue := high_queues[i]; high_priority := high_priorities[i]; high_channel := high_channels[i];
    loop
      top := case when queue = high_queue and priority = high_priority then high_channel else top_channel end;
      select t.channel into hit
      from pawl.ready t
      where t.queue = queue and t.priority = priority
        and t.channel >= channel and (t.channel, t.pos) > (channel, pos) and t.channel < top
      order by t.channel, t.pos limit 1;
      if found then
        channel := hit.channel; pos := 9223372036854775807;
        return next;
        n := n + 1;
        if n >= most then
          return;
        end if;
        continue;
      end if;
      exit when queue = high_queue and priority = high_priority;

      below := case when queue = high_queue then high_priority else top_priority end;
      select t.priority, t.channel into hit
      from pawl.ready t
      where t.queue = queue and t.priority > priority and t.priority < below
      order by t.priority, t.channel, t.pos limit 1;
      if found then
        priority := hit.priority; channel := hit.channel; pos := 9223372036854775807;
        return next;
        n := n + 1;
        if n >= most then
          return;
        end if;
        continue;
      end if;
      if queue = high_queue then
        priority := high_priority; channel := ''; pos := -1;
        continue;
      end if;

      select t.queue, t.priority, t.channel into hit
      from pawl.ready t
      where t.queue > queue and t.queue < high_queue
      order by t.queue, t.priority, t.channel, t.pos limit 1;
      if found then
        queue := hit.queue; priority := hit.priority; channel := hit.channel; pos := 9223372036854775807;
        return next;
        n := n + 1;
        if n >= most then
          return;
        end if;
        continue;
      end if;
      queue := high_queue; priority := -2147483648; channel := ''; pos := -1;
    end loop;
  end loop;
  if not any_queue then
    return;
  end if;
  priority := null; channel := null;
  known := array(select distinct u.q from unnest(queues) u (q) order by 1);
  for i in 0 .. cardinality(known) loop
    queue := case when i = 0 then '' else known[i] end;
    high_queue := case when i < cardinality(known) then known[i + 1] else top_channel end;
    loop
      select s.queue into hit
      from pawl.scheduled s
      where s.queue > queue and s.queue < high_queue
      order by s.queue, s.run_at limit 1;
      exit when not found;
      queue := hit.queue;
      return next;
    end loop;
  end loop;
end $$;
