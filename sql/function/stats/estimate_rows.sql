-- estimate_rows: how many rows the planner expects of a query: the size of its table and the statistics, without reading either.
create or replace function pawl.estimate_rows(query text) returns bigint language plpgsql as $$
declare
  plan json;
begin
  execute 'explain (format json) ' || query into plan;
  return (plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint;
end $$;
