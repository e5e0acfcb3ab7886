-- validate_callbacks returns what is wrong with the callback jobs of a batch; null if nothing is. Maintenance inserts
-- them when the batch ends, and then no caller is there to be told of an error.
--   batch   the batch's id
--   jobs    a JSON array as insert_constrained takes it, or null
-- Moves nothing.
create or replace function pawl.validate_callbacks(batch bigint, jobs jsonb) returns text
language plpgsql stable as $$
#variable_conflict use_column
begin
  if jobs is null then
    return null;
  elsif jsonb_typeof(jobs) <> 'array' or jsonb_array_length(jobs) > 1000 then
    return 'want an array of at most 1,000 jobs';
  end if;
  return (
    select w.reason
    from jsonb_array_elements(jobs) as s (value),
         lateral (select coalesce(
           pawl.validate_constrained(s.value),
           case when s.value ? 'reserve' then 'a callback cannot be reserved'
                when s.value -> 'opts' ? 'batch' then 'a callback is in no batch' end,
           (select format('it depends on job %s: a callback depends on jobs inserted before the batch', a.id)
            from jsonb_to_recordset(s.value -> 'after') as a (id bigint)
            where a.id >= validate_callbacks.batch limit 1)) as reason) w
    where w.reason is not null
    limit 1
  );
end $$;
