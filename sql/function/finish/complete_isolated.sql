-- complete_isolated finishes jobs whose handlers succeeded, of which the database has refused one. Only what it refuses
-- stays.
--   parameters as complete
-- Moves: what complete moves. It completes all jobs in a subtransaction. If that fails, it completes each half, down to
-- one job.
-- Returns the ids of the finished jobs with null, and the ids of the refused ones with what the database said.
-- It fails if the database is at fault and not a job: a partition is missing, or there is no memory for a small result.
-- Index: those of complete.
-- Survives: what complete survives.
create or replace function pawl.complete_isolated(
  ids bigint[], epochs integer[], waited bigint[], ran bigint[], results text[], worker text, keep bigint[]
) returns table (id bigint, problem text)
language plpgsql as $$
#variable_conflict use_column
declare
  n constant integer := coalesce(cardinality(ids), 0);
  h constant integer := n / 2;
  violated text; -- the name of the violated constraint
begin
  begin
    return query
    select c.id, null::text from pawl.complete(ids, epochs, waited, ran, results, worker, keep, '{}') c (id);
    return;
  exception when others then
    get stacked diagnostics violated = constraint_name;
    if not pawl.is_fault_of_row(sqlstate, violated)
       or sqlstate = '53200' and n = 1 and coalesce(octet_length(results[1]), 0) < 1000000 then
      raise;
    end if;
    if n = 1 then
      return query select ids[1], format('%s (SQLSTATE %s)', sqlerrm, sqlstate);
      return;
    end if;
  end;
  return query select * from pawl.complete_isolated(
    ids[1 : h], epochs[1 : h], waited[1 : h], ran[1 : h], results[1 : h], worker, keep);
  return query select * from pawl.complete_isolated(
    ids[h + 1 : n], epochs[h + 1 : n], waited[h + 1 : n], ran[h + 1 : n], results[h + 1 : n], worker, keep);
end $$;
