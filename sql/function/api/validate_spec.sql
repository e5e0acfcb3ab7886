-- validate_spec returns what is wrong with a job that SQL inserts ({kind, args, opts}); null if nothing is. It
-- checks what the Go client's Insert checks, so that no job is inserted that a claim could not read.
create or replace function pawl.validate_spec(job jsonb) returns text language plpgsql stable parallel safe as $$
#variable_conflict use_variable
declare
  opts jsonb := jsonb_strip_nulls(coalesce(nullif(job -> 'opts', 'null'), '{}'));
  one  record;
  bad  text;
  moment timestamptz;
begin
  if jsonb_typeof(job -> 'kind') is distinct from 'string' or job ->> 'kind' = '' then
    return 'it has no kind';
  elsif jsonb_typeof(opts) <> 'object' then
    return 'its opts are no object';
  end if;
  select j.key into bad from jsonb_object_keys(job) as j (key) where j.key <> all ('{kind,args,opts}') limit 1;
  if found then
    return format('there is no field %s; want kind, args and opts', bad);
  end if;
  for one in
    select o.key, o.value, case
      when o.key in ('queue', 'channel', 'fingerprint', 'data', 'run_at') then 'string'
      when o.key in ('priority', 'delay', 'max_attempts', 'reserve', 'attempt') then 'number'
      when o.key in ('headers', 'backoff', 'unique') then 'object'
      when o.key = 'ordered' then 'boolean' when o.key = 'after' then 'array' end as want
    from jsonb_each(opts) as o (key, value)
  loop
    if one.want is null then
      return 'there is no option ' || one.key;
    elsif jsonb_typeof(one.value) <> one.want then
      return format('%s is no %s', one.key, one.want);
    end if;
  end loop;
  for one in
    select n.what, n.name
    from (values ('kind', job ->> 'kind'), ('queue', opts ->> 'queue'), ('channel', opts ->> 'channel'),
                 ('fingerprint', opts ->> 'fingerprint'), ('unique.key', opts -> 'unique' ->> 'key')) as n (what, name)
  loop
    if octet_length(one.name) > 255 then
      return format('%s is %s bytes long; at most 255', one.what, octet_length(one.name));
    end if;
  end loop;
  for one in
    select u.key, u.value, case
      when u.key = 'key' then 'string' when u.key = 'period' then 'number'
      when u.key in ('global', 'until_start', 'replace', 'reschedule') then 'boolean' end as want
    from jsonb_each(coalesce(opts -> 'unique', '{}')) as u (key, value)
  loop
    if one.want is null then
      return 'there is no option unique.' || one.key;
    elsif jsonb_typeof(one.value) <> one.want then
      return format('unique.%s is no %s', one.key, one.want);
    end if;
  end loop;
  select o.key into bad from jsonb_each(opts) as o (key, value)
  where o.key in ('priority', 'max_attempts', 'attempt') and o.value::text !~ '^-?[0-9]{1,9}$' limit 1;
  if found then
    return format('%s is no whole number of at most nine digits, written without a decimal point', bad);
  end if;
  if opts ? 'run_at' then
    begin
      moment := (opts ->> 'run_at')::timestamptz;
    exception when invalid_datetime_format or datetime_field_overflow or invalid_parameter_value then
      return format('run_at: %s is no time; want one such as 2030-01-31 12:00:00+00',
                    quote_literal(left(opts ->> 'run_at', 64)));
    end;
    if not isfinite(moment) or extract(year from moment) not between 1900 and 9999 then
      return format('run_at is %s; want a time in the years 1900 to 9999', left(opts ->> 'run_at', 64));
    end if;
  end if;
  if opts ? 'data' then
    begin
      perform decode(opts ->> 'data', 'base64');
    exception when invalid_parameter_value then
      return 'data is no base64: ' || sqlerrm;
    end;
  end if;
  -- A number of twelve bytes may be 147,455 digits, so a smaller value cannot have as much text.
  if pg_column_size(job -> 'args') > 4096 and octet_length((job -> 'args')::text) > 67108864 then
    return format('its args are %s bytes of JSON; at most 67108864', octet_length((job -> 'args')::text));
  end if;
  select b.key into bad from jsonb_each(coalesce(opts -> 'backoff', '{}')) as b (key, value)
  where b.key <> all ('{base,max,growth,power,jitter}') or jsonb_typeof(b.value) <> 'number'
     or b.key in ('base', 'max', 'growth') and (b.value::numeric <= 0 or b.value::numeric > 3155760000)
     or b.key = 'power' and abs(b.value::numeric) > 100
     or b.key = 'jitter' and b.value::numeric not between 0 and 1
  limit 1;
  return case
    when bad is not null
      then format('backoff.%s: want base, max and growth above 0 and up to 3155760000 (100 years), '
                  'power from -100 to 100, jitter from 0 to 1', bad)
    when opts ->> 'queue' = '' then 'queue is empty'
    when (opts ->> 'priority')::numeric not between -32768 and 32767 then 'want a priority from -32768 to 32767'
    when (opts ->> 'max_attempts')::numeric not between 1 and 32767 then 'want max_attempts from 1 to 32767'
    when (opts ->> 'attempt')::numeric not between 0 and 32766 then 'want attempt, those used already, from 0 to 32766'
    when (opts ->> 'delay')::numeric not between 0 and 3155760000
      then 'want a delay from 0 to 3155760000 seconds (100 years)'
    when (opts ->> 'reserve')::numeric <= 0 or (opts ->> 'reserve')::numeric > 3155760000
      then 'want a reserve above 0 and up to 3155760000 seconds (100 years)'
    when opts ? 'delay' and opts ? 'run_at' then 'delay beside run_at: one of them'
    when (opts -> 'ordered')::boolean and (opts ->> 'priority')::numeric <> 0 then 'an ordered job has no priority'
    when opts ? 'unique' and coalesce(opts -> 'unique' ->> 'key', '') = '' then 'unique has no key'
    when (opts -> 'unique' ->> 'period')::numeric not between 0 and 3155760000
      then 'want a unique.period from 0 to 3155760000 seconds (100 years)'
    when exists (select from jsonb_each(coalesce(opts -> 'headers', '{}')) as h (key, value)
                 where jsonb_typeof(h.value) <> 'string')
      then 'headers are strings by name'
    when exists (select from jsonb_array_elements(coalesce(opts -> 'after', '[]')) as a (value)
                 where jsonb_typeof(a.value) <> 'object'
                    or not case when jsonb_typeof(a.value -> 'id') = 'number'
                                then (a.value ->> 'id') ~ '^[1-9][0-9]{0,17}$' else false end
                    or coalesce(a.value ->> 'on', 'ok') <> all ('{ok,any,not_ok}')
                    or jsonb_typeof(a.value -> 'keep_waiting') <> 'boolean'
                    or case when jsonb_typeof(a.value) = 'object'
                            then exists (select from jsonb_object_keys(a.value) as k (key)
                                         where k.key <> all ('{id,on,keep_waiting}')) end)
      then 'after: want {id, on: ok, any or not_ok, keep_waiting}'
  end;
end $$;
