-- insert_many: jobs by SQL, all or none: a JSON array of {kind, args, opts} as insert has them. Returns a row a job, in order.
create or replace function pawl.insert_many(jobs jsonb) returns table (id bigint, duplicate boolean)
language plpgsql set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
  wrong record;
begin
  if jsonb_typeof(jobs) is distinct from 'array' then
    raise exception 'pawl: insert_many wants a JSON array of {kind, args, opts}' using errcode = '22023';
  end if;
  select s.ord, s.value ->> 'kind' as kind, k.key into wrong
  from jsonb_array_elements(jobs) with ordinality as s (value, ord)
  left join lateral (
    select o.key from jsonb_object_keys(coalesce(nullif(s.value -> 'opts', 'null'), '{}')) as o (key)
    where o.key <> all ('{queue,channel,priority,delay,run_at,max_attempts,fingerprint,headers,backoff,data,ordered,unique,reserve,after}')
    limit 1
  ) k on true
  where coalesce(s.value ->> 'kind', '') = '' or k.key is not null
     or (s.value -> 'opts' ->> 'ordered')::boolean and (s.value -> 'opts' ->> 'priority')::integer <> 0
     or s.value -> 'opts' ? 'delay' and s.value -> 'opts' ? 'run_at'
  order by s.ord
  limit 1;
  if found then
    raise exception 'pawl: job % (kind %): %', wrong.ord - 1, coalesce(wrong.kind, 'null'),
      case when coalesce(wrong.kind, '') = '' then 'it has no kind' when wrong.key is not null then 'there is no option ' || wrong.key
           else 'delay beside run_at, or a priority of an ordered job: one of them' end
      using errcode = '22023';
  end if;
  return query
  select r.id, r.duplicate
  from pawl.insert_tied((
    select coalesce(jsonb_agg(
      jsonb_strip_nulls(jsonb_build_object(
        'queue', coalesce(o.opts ->> 'queue', 'default'), 'channel', coalesce(o.opts ->> 'channel', ''), 'priority', o.opts -> 'priority',
        'kind', s.value -> 'kind', 'data', o.opts -> 'data', 'delay', o.opts -> 'delay', 'run_at', o.opts -> 'run_at',
        'attempts', o.opts -> 'max_attempts', 'fingerprint', o.opts -> 'fingerprint', 'ordered', o.opts -> 'ordered',
        'key', o.opts -> 'unique' -> 'key', 'period', o.opts -> 'unique' -> 'period', 'replace', o.opts -> 'unique' -> 'replace',
        'reschedule', o.opts -> 'unique' -> 'reschedule', 'reserve', o.opts -> 'reserve', 'after', o.opts -> 'after',
        'opts', nullif(jsonb_strip_nulls(jsonb_build_object(
          'headers', o.opts -> 'headers', 'backoff', o.opts -> 'backoff', 'ordered', nullif(o.opts -> 'ordered', 'false'),
          'global', nullif(o.opts -> 'unique' -> 'global', 'false'), 'until_start', nullif(o.opts -> 'unique' -> 'until_start', 'false'))), '{}')))
      || case when coalesce(s.value -> 'args', 'null') <> 'null' then jsonb_build_object('args', s.value -> 'args') else '{}' end
      order by s.ord), '[]')
    from jsonb_array_elements(jobs) with ordinality as s (value, ord),
         lateral (select coalesce(nullif(s.value -> 'opts', 'null'), '{}') as opts) o
  )) r;
end $$;
