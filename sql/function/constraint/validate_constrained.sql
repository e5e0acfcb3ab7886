-- validate_constrained returns what is wrong with a job in the form that insert_constrained takes; null if nothing is.
-- It checks the form itself, and times, for which the Go client has wider limits than SQL. What the other fields mean
-- is checked by validate_spec, as for a job that SQL inserts.
create or replace function pawl.validate_constrained(spec jsonb) returns text
language plpgsql stable parallel safe as $$
#variable_conflict use_column
declare
  opts jsonb := coalesce(nullif(spec -> 'opts', 'null'), '{}');
  bad  text;
begin
  if jsonb_typeof(spec) is distinct from 'object' then
    return 'it is no object';
  elsif jsonb_typeof(opts) <> 'object' then
    return 'its opts are no object';
  end if;
  select f.key into bad
  from (select k.key, 'queue,channel,priority,kind,args,data,delay,run_at,attempts,fingerprint,opts,ordered,key,period,'
               'replace,reschedule,reserve,after,attempt,errors' as known from jsonb_object_keys(spec) as k (key)
        union all
        select k.key, 'headers,backoff,ordered,batch,global,until_start' from jsonb_object_keys(opts) as k (key)) f
  where f.key <> all (string_to_array(f.known, ','))
  limit 1;
  if found then
    return 'there is no field ' || bad;
  end if;
  select t.name into bad
  from unnest('{delay,period,reserve}'::text[]) as t (name)
  where spec ? t.name
    and not case when jsonb_typeof(spec -> t.name) = 'number'
                 then (spec ->> t.name)::numeric between case t.name when 'reserve' then 1e-9 else 0 end and 9223372037
                 else spec -> t.name = 'null' end
  limit 1;
  if found then
    return format('want a %s of 0 to 9223372037 seconds', bad);
  end if;
  begin
    if not isfinite((spec ->> 'run_at')::timestamptz) then
      return 'run_at is infinite';
    end if;
  exception when invalid_datetime_format or datetime_field_overflow or invalid_parameter_value then
    return format('run_at: %s is no time', quote_literal(left(spec ->> 'run_at', 64)));
  end;
  -- Args are left out here, so that large ones are not copied.
  bad := pawl.validate_spec(jsonb_build_object('kind', spec -> 'kind', 'opts', jsonb_strip_nulls(
    (spec - '{kind,args,opts,attempts,delay,run_at,reserve,key,period,replace,reschedule,errors}'::text[])
    || jsonb_build_object(
         'max_attempts', spec -> 'attempts', 'headers', opts -> 'headers', 'backoff', opts -> 'backoff',
         'unique', case when spec ?| '{key,period,replace,reschedule}' or opts ?| '{global,until_start}'
                        then jsonb_build_object(
                          'key', spec -> 'key', 'replace', spec -> 'replace', 'reschedule', spec -> 'reschedule',
                          'global', opts -> 'global', 'until_start', opts -> 'until_start') end))));
  return coalesce(bad, case
    when pg_column_size(spec -> 'args') > 6000 and octet_length((spec -> 'args')::text) > 67108864
      then 'its args are more than 67108864 bytes of JSON'
    when coalesce(opts -> 'ordered', 'false') <> coalesce(spec -> 'ordered', 'false')
      then 'opts.ordered differs from ordered'
    when coalesce(opts ->> 'batch', '1') !~ '^[1-9][0-9]{0,17}$' then 'opts.batch is no id'
    when coalesce(nullif(spec -> 'errors', 'null'), '[]') <> '[]' then pawl.validate_errors(spec -> 'errors') end);
end $$;
