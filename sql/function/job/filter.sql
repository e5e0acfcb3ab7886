-- filter returns the condition of a filter on the rows t of a table with jobs, as SQL. Null: no row of this table
-- can match.
--   filter   {ids, queue, channel, kind, fingerprint, unique_key, worker, states, args, created_before,
--            created_after, run_before}; an absent field matches every job
--   source   job, dead or archive
-- The caller makes a statement of it, which is planned with its values each time, because the values decide which
-- index is best.
create or replace function pawl.filter(filter jsonb, source text) returns text language plpgsql stable as $$
declare
  live   constant text[] := '{reserved,waiting,scheduled,ready,running}';
  have   constant text[] := case source when 'job' then live when 'dead' then '{dead}'
                                        else '{completed,cancelled}' end;
  states text[];
  parts  text[];
  places text[];
  ticket text;
  queue  text;
  query  text;
  few    bigint;
  column_name text;
begin
  if filter ? 'states' then
    states := array(select s from jsonb_array_elements_text(filter -> 'states') s where s = any (have));
    if cardinality(states) = 0 then
      return null;
    end if;
    if source = 'job' and not states @> live then
      parts := parts || format('(%s) = any (%L)', pawl.live_state(), states);
    elsif source = 'archive' and not states @> have then
      parts := parts || format('t.state = %L', states[1]);
    end if;
  end if;
  if filter ? 'ids' then
    parts := parts || format('t.id = any (%L)', array(
      select i::bigint from jsonb_array_elements_text(filter -> 'ids') i));
  elsif source = 'job' and (filter ?| array['states', 'queue']) then
    -- If at most 10,000 jobs match, they are looked up by their tickets and leases, not searched for among all jobs.
    states := coalesce(states, live);
    queue := case when filter ? 'queue' then format('where s.queue = %L', filter ->> 'queue') else '' end;
    foreach ticket in array array['ready', 'scheduled', 'blocked'] loop
      if ticket = any (states) or ticket = 'blocked' and states && '{reserved,waiting}' then
        places := places || format('select s.job_id from pawl.%I s %s', ticket, queue);
      end if;
    end loop;
    if 'running' = any (states) then
      places := places || 'select unnest(s.jobs) from pawl.lease s'::text;
    end if;
    query := format('select x.id from (%s) x (id) limit 10001', array_to_string(places, ' union all '));
    execute format('select count(*) from (%s) c', query) into few;
    if few <= 10000 then
      parts := parts || format('t.id = any (array(%s))', query);
    end if;
  end if;
  foreach column_name in array array['queue', 'channel', 'kind', 'fingerprint', 'unique_key'] loop
    if filter ? column_name then
      parts := parts || format('t.%I = %L', column_name, filter ->> column_name);
    end if;
  end loop;
  if filter ? 'worker' and source = 'job' then
    -- The epoch must match too: a job that was claimed and is ready again stays in its lease until the lease is
    -- deleted.
    parts := parts || format(
      't.id = any (array(%1$s)) and (t.id, t.epoch) in ('
      'select u.id, u.epoch from pawl.lease l join pawl.worker w on w.id = l.worker_id, '
      'unnest(l.jobs, l.epochs) u (id, epoch) where w.name = %2$L)',
      format('select unnest(l.jobs) from pawl.lease l join pawl.worker w on w.id = l.worker_id where w.name = %L',
             filter ->> 'worker'),
      filter ->> 'worker');
  elsif filter ? 'worker' then
    parts := parts || format('t.worker = %L', filter ->> 'worker');
  end if;
  if filter ? 'args' then
    parts := parts || format('t.args @> %L', filter -> 'args');
  end if;
  if filter ? 'created_before' then
    parts := parts || format('t.created_at < %L', filter ->> 'created_before');
  end if;
  if filter ? 'created_after' then
    parts := parts || format('t.created_at > %L', filter ->> 'created_after');
  end if;
  if filter ? 'run_before' then
    parts := parts || format('coalesce(t.run_at, t.created_at) < %L', filter ->> 'run_before');
  end if;
  if source <> 'job' then
    -- As a number: a time's text may name a zone that is read as another.
    parts := parts || format('t.expires_at > to_timestamp(%s)', extract(epoch from clock_timestamp()));
  end if;
  return coalesce(array_to_string(parts, ' and '), 'true');
end $$;
