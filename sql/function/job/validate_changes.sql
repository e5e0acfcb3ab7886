-- validate_changes returns what is wrong with the changes that update takes; null if nothing is. The values are
-- checked as those of a new job: see validate_spec.
create or replace function pawl.validate_changes(changes jsonb) returns text language plpgsql stable parallel safe as $$
begin
  if jsonb_typeof(changes) is distinct from 'object' then
    return 'want an object with the changes';
  elsif changes - '{run_at,delay,priority,kind,args,data,headers,max_attempts}'::text[] <> '{}' then
    return 'want run_at, delay, priority, kind, args, data, headers or max_attempts';
  end if;
  return pawl.validate_spec(jsonb_build_object(
    'kind', coalesce(changes -> 'kind', '"any"'), 'args', changes -> 'args', 'opts', changes - '{kind,args}'::text[]));
end $$;
