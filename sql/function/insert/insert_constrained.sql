-- insert_constrained inserts jobs that have constraints, all or none.
--   specs   a JSON array of {queue, channel, priority, kind, args, data (base64), delay, run_at, attempts,
--           fingerprint, opts, ordered, key, period, replace, reschedule, reserve, after: [{id, on, keep_waiting}],
--           attempt (attempts used), errors}; times in seconds. The batch in opts is one that this transaction has
--           inserted
--   args, data   the args and data of each spec; null: they are in the specs. All specs are one value of jsonb, which
--           takes 256 MB and is read several times
-- Moves: a job row and a ticket in for each job; rows in ordered_job, unique_key and dependency where the specs ask
-- for them.
-- Returns a row for each spec, in order: the id, and whether that is the id of the job that has the unique key. In
-- that case no job was inserted.
-- Index: primary keys.
-- Survives: concurrent inserts into a channel (its mutex is locked in a statement before the ids are drawn, so that
-- the order in the channel is the order of commits); two inserts with one key (the second waits for the first, then
-- finds its row); a job with the key that ends while it is read (the insert is tried again); a parent that finishes
-- meanwhile (its row is locked, or it is gone and is looked up).
-- Locks channels, then free keys, each sorted, then parents by id. Of a key that is in use it locks nothing, or, to
-- change it, the waiting job that has the key.
create or replace function pawl.insert_constrained(
  specs jsonb, args jsonb[] default null, data bytea[] default null
) returns table (id bigint, duplicate boolean)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
declare
  moment timestamptz;
  spec   record;
  ids    bigint[];
  taken  bigint[];
  later  jsonb[]; -- changes by duplicates of a job of this call
  wrong  record;
  other  record;
  tries  integer;
begin
  if jsonb_typeof(specs) is distinct from 'array' then
    raise exception 'pawl: insert_constrained wants a JSON array of jobs' using errcode = '22023';
  end if;
  select s.ord - 1 as index, left(s.value ->> 'kind', 64) as kind, w.reason into wrong
  from jsonb_array_elements(specs) with ordinality as s (value, ord),
       lateral (select pawl.validate_constrained(s.value) as reason) w
  where not pawl.is_plain_spec(s.value) and w.reason is not null
  limit 1;
  if found then
    raise exception 'pawl: job % (kind %): %', wrong.index, coalesce(wrong.kind, 'null'), wrong.reason
      using errcode = '22023';
  end if;
  perform pg_current_xact_id();
  insert into pawl.mutex as m (kind, queue, name) -- As lock_mutexes does it.
  select distinct 'channel', coalesce(s.queue, 'default'), coalesce(s.channel, '')
  from jsonb_to_recordset(specs) as s (queue text, channel text, ordered boolean)
  where s.ordered
  order by 1, 2, 3
  on conflict (kind, queue, name) do update set name = m.name where false;
  moment := clock_timestamp();
  ids := array(select nextval('pawl.pos') from generate_series(1, jsonb_array_length(specs)));
  taken := array_fill(null::bigint, array[cardinality(ids)]);
  later := array_fill(null::jsonb, array[cardinality(ids)]);

  for spec in
    select s.value ->> 'key' as key,
           pawl.key_scope(coalesce(s.value ->> 'queue', 'default'), s.value -> 'opts') as scope, s.ord::integer,
           moment + (s.value ->> 'period')::double precision * interval '1 second' as keep_until,
           coalesce(s.value -> 'opts' ? 'until_start', false) as until_start,
           -- What a duplicate changes; null: nothing. A null inside args is the caller's, and stays.
           (select jsonb_object_agg(c.key, c.value)
            from (select e.key, e.value from jsonb_each(s.value) e
                  union all
                  select 'headers', s.value -> 'opts' -> 'headers'
                  union all
                  select 'args', insert_constrained.args[s.ord] where (s.value ->> 'replace')::boolean
                  union all
                  select 'data', to_jsonb(encode(insert_constrained.data[s.ord], 'base64'))
                  where (s.value ->> 'replace')::boolean) c
            where c.value is not null
              and ((s.value ->> 'replace')::boolean and c.key in ('kind', 'args', 'data', 'headers')
                   or (s.value ->> 'reschedule')::boolean and c.key in ('delay', 'run_at'))) as changes
    from jsonb_array_elements(specs) with ordinality as s (value, ord)
    where s.value ->> 'key' is not null
    order by 2, 1, 3
  loop
    tries := 0;
    loop
      -- A key in use is not locked: its job must be able to start and finish meanwhile.
      insert into pawl.unique_key (scope, key, job_id, live, until_start, keep_until)
      values (spec.scope, spec.key, ids[spec.ord], true, spec.until_start, spec.keep_until)
      on conflict (scope, key) do nothing;
      exit when found;
      select h.job_id, h.live, h.until_start, h.live or coalesce(h.keep_until > clock_timestamp(), false) as taken
      into other
      from pawl.unique_key h where h.scope = spec.scope and h.key = spec.key;
      if found and other.taken then
        taken[spec.ord] := other.job_id;
        if other.job_id = any (ids) then
          later[spec.ord] := spec.changes; -- That job is inserted below.
          exit;
        end if;
        -- A job that frees its key when it starts must not start before this transaction ends: it would run without
        -- seeing what the duplicate stands for.
        if spec.changes is not null then
          perform from pawl.update(array[other.job_id], spec.changes) c
          where not (other.until_start and c.became = 'running');
        elsif other.until_start then
          perform from pawl.lock_waiting(other.job_id) as waits where waits;
        end if;
        exit when found or not other.live;
        taken[spec.ord] := null; -- The job has started or finished meanwhile.
      elsif found then
        update pawl.unique_key h
        set job_id = ids[spec.ord], live = true, until_start = spec.until_start, keep_until = spec.keep_until
        where h.scope = spec.scope and h.key = spec.key and not h.live
          and (h.keep_until is null or h.keep_until <= clock_timestamp());
        exit when found;
      end if;
      tries := tries + 1;
      if tries > 1000 then
        raise exception 'pawl: the unique key % was taken and freed too often: try again', spec.key
          using errcode = '40001';
      end if;
    end loop;
  end loop;

  insert into pawl.job (id, created_at, run_at, epoch, priority, max_attempts, queue, channel, kind, args, data,
                        fingerprint, unique_key, opts, constrained, attempt, errors)
  select ids[s.ord], moment,
         coalesce((s.value ->> 'run_at')::timestamptz,
                  moment + (s.value ->> 'delay')::double precision * interval '1 second'),
         (random() * 1000000000)::integer, coalesce((s.value ->> 'priority')::smallint, 0::smallint),
         (s.value ->> 'attempts')::smallint, coalesce(s.value ->> 'queue', 'default'),
         coalesce(s.value ->> 'channel', ''), s.value ->> 'kind',
         coalesce(insert_constrained.args[s.ord], s.value -> 'args'),
         coalesce(insert_constrained.data[s.ord], decode(s.value ->> 'data', 'base64')),
         s.value ->> 'fingerprint', s.value ->> 'key',
         nullif(coalesce(s.value -> 'opts', '{}'), '{}'),
         coalesce((s.value ->> 'ordered')::boolean, false) or s.value ->> 'key' is not null
           or coalesce(s.value -> 'opts' ? 'batch', false),
         coalesce((s.value ->> 'attempt')::smallint, 0::smallint), s.value -> 'errors'
  from jsonb_array_elements(specs) with ordinality as s (value, ord)
  where taken[s.ord] is null
  order by s.ord;

  for spec in
    select (s.value -> 'opts' ->> 'batch')::bigint as batch, count(*) as n
    from jsonb_array_elements(specs) with ordinality as s (value, ord)
    where taken[s.ord] is null and s.value -> 'opts' ? 'batch'
    group by 1
  loop
    update pawl.batch b set total = b.total + spec.n where b.id = spec.batch and b.xact = pg_current_xact_id();
    if not found then
      raise exception 'pawl: this transaction has inserted no batch %', spec.batch using errcode = '22023';
    end if;
  end loop;

  insert into pawl.ordered_job (queue, channel, pos, job_id)
  select coalesce(s.value ->> 'queue', 'default'), coalesce(s.value ->> 'channel', ''), ids[s.ord], ids[s.ord]
  from jsonb_array_elements(specs) with ordinality as s (value, ord)
  where taken[s.ord] is null and (s.value ->> 'ordered')::boolean;

  insert into pawl.blocked (job_id, epoch, queue, expires_at)
  select j.id, j.epoch, j.queue, clock_timestamp() + (s.value ->> 'reserve')::double precision * interval '1 second'
  from jsonb_array_elements(specs) with ordinality as s (value, ord),
       lateral (select j.id, j.epoch, j.queue from pawl.job j where j.id = ids[s.ord]) j
  where taken[s.ord] is null;

  for spec in
    select ids[s.ord] as child, (a.value ->> 'id')::bigint as parent, coalesce(a.value ->> 'on', 'ok') as on_state,
           coalesce((a.value ->> 'keep_waiting')::boolean, false) as keep_waiting
    from jsonb_array_elements(specs) with ordinality as s (value, ord),
         jsonb_array_elements(coalesce(s.value -> 'after', '[]')) as a (value)
    where taken[s.ord] is null
    order by 2, 1
  loop
    if spec.parent >= spec.child then
      raise exception 'pawl: a job can only depend on jobs inserted before it, and % was not', spec.parent
        using errcode = '22023';
    end if;
    insert into pawl.dependency (parent_id, child_id, on_state, keep_waiting)
    values (spec.parent, spec.child, spec.on_state, spec.keep_waiting)
    on conflict do nothing;
    update pawl.job j set constrained = true where j.id = spec.parent;
    if not found then
      -- The lock keeps the parent from being deleted or retried unseen. If it was retried just now, it is live again.
      perform from pawl.dead d where d.id = spec.parent for key share;
      if not found then
        perform from pawl.archive_chunk a where a.min_id = spec.parent and a.state = 'cancelled' for key share;
      end if;
      if not found then
        update pawl.job j set constrained = true where j.id = spec.parent;
        continue when found;
      end if;
      -- The parent has finished or does not exist: run_followups treats this as its end.
      insert into pawl.followup (job_id, queue, channel, ordered, became)
      values (spec.parent, '', '', false, coalesce(
        (select 'dead' from pawl.dead d where d.id = spec.parent),
        (select a.state from pawl.find_archived(array[spec.parent]) a limit 1), 'deleted'));
    end if;
  end loop;

  perform pawl.unblock(i.id) from unnest(ids) with ordinality as i (id, ord) where taken[i.ord] is null;
  perform pawl.update(array[taken[i.ord]], i.changes)
  from unnest(later) with ordinality as i (changes, ord) where i.changes is not null;
  return query
  select coalesce(taken[i.ord], i.id), taken[i.ord] is not null
  from unnest(ids) with ordinality as i (id, ord)
  order by i.ord;
end $$;
