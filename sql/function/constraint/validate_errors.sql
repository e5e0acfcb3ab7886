-- validate_errors returns what is wrong with the errors of earlier attempts; null if nothing is.
create or replace function pawl.validate_errors(errors jsonb) returns text language sql stable parallel safe as $$
  select case
    when jsonb_typeof(errors) <> 'array' then 'its errors are no array'
    when jsonb_array_length(errors) > 10 then 'it has more than ten errors'
    when exists (
      select from jsonb_array_elements(errors) as e (value)
      where jsonb_typeof(e.value) <> 'object'
         or coalesce(jsonb_typeof(e.value -> 'attempt'), 'number') <> 'number'
         or coalesce(e.value ->> 'attempt', '0') !~ '^[0-9]{1,5}$'
         or coalesce(jsonb_typeof(e.value -> 'at'), 'string') <> 'string'
         or coalesce(e.value ->> 'at', '2000-01-01T00:00:00Z')
              !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$'
         or exists (select from unnest('{worker,error,stack}'::text[]) as f (name)
                    where coalesce(jsonb_typeof(e.value -> f.name), 'string') <> 'string'))
      then 'its errors: want {attempt, at, worker, error, stack}' end
$$;
