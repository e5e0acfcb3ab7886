-- estimate_rows returns how many rows the planner expects of a query, from the size of its table and the
-- statistics. It does not run the query.
create or replace function pawl.estimate_rows(query text) returns bigint language plpgsql as $$
declare
  plan json;
begin
  execute 'explain (format json) ' || query into plan;
  return (plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint;
end $$;
