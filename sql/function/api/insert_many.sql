-- insert_many inserts jobs by SQL, all or none: a JSON array of {kind, args, opts}, as insert takes them.
-- Returns for each job, in order, its id, and whether that is the id of the job that has the unique key.
-- Many jobs are inserted in parts, so that the array may take up to 260 MB as jsonb. PostgreSQL's limit is 268 MB.
create or replace function pawl.insert_many(jobs jsonb) returns table (id bigint, duplicate boolean)
language plpgsql set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_column
declare
  most  constant integer := 260000000;
  wrong record;
  part  record;
begin
  if jsonb_typeof(jobs) is distinct from 'array' then
    raise exception 'pawl: insert_many wants a JSON array of {kind, args, opts}' using errcode = '22023';
  end if;
  -- The specs of a part take a little more than its jobs, and are one value too. Without || this is the size on disk.
  if pg_column_size(jobs || '[]') > most then
    raise exception 'pawl: insert_many: the array takes % bytes as jsonb; at most %: call it several times in one '
      'transaction', pg_column_size(jobs || '[]'), most using errcode = '54000';
  end if;
  select s.ord - 1 as index, s.value ->> 'kind' as kind, w.reason into wrong
  from jsonb_array_elements(jobs) with ordinality as s (value, ord),
       lateral (select pawl.validate_spec(s.value) as reason) w
  where w.reason is not null
  order by s.ord
  limit 1;
  if found then
    raise exception 'pawl: job % (kind %): %', wrong.index, coalesce(left(wrong.kind, 64), 'null'), wrong.reason
      using errcode = '22023';
  end if;
  for part in
    select jsonb_agg(
             jsonb_strip_nulls(jsonb_build_object(
               'queue', coalesce(o.opts ->> 'queue', 'default'), 'channel', coalesce(o.opts ->> 'channel', ''),
               'priority', o.opts -> 'priority', 'kind', s.value -> 'kind', 'data', o.opts -> 'data',
               'delay', o.opts -> 'delay', 'run_at', o.opts -> 'run_at', 'attempts', o.opts -> 'max_attempts',
               'fingerprint', o.opts -> 'fingerprint', 'ordered', o.opts -> 'ordered',
               'key', o.opts -> 'unique' -> 'key', 'period', o.opts -> 'unique' -> 'period',
               'replace', o.opts -> 'unique' -> 'replace', 'reschedule', o.opts -> 'unique' -> 'reschedule',
               'reserve', o.opts -> 'reserve', 'after', o.opts -> 'after', 'attempt', o.opts -> 'attempt',
               'opts', nullif(jsonb_strip_nulls(jsonb_build_object(
                 'headers', o.opts -> 'headers',
                 'backoff', '{"base": 1, "max": 3600, "growth": 2, "power": 0, "jitter": 0.1}' || (o.opts -> 'backoff'),
                 'ordered', nullif(o.opts -> 'ordered', 'false'),
                 'global', nullif(o.opts -> 'unique' -> 'global', 'false'),
                 'until_start', nullif(o.opts -> 'unique' -> 'until_start', 'false'))), '{}')))
             order by s.ord) as specs,
           array_agg(nullif(s.value -> 'args', 'null') order by s.ord) as args
    from jsonb_array_elements(jobs) with ordinality as s (value, ord),
         lateral (select coalesce(nullif(s.value -> 'opts', 'null'), '{}') as opts) o
    group by (s.ord - 1) / 20000
    order by min(s.ord)
  loop
    return query select r.id, r.duplicate from pawl.insert_constrained(part.specs, part.args) r;
  end loop;
end $$;
