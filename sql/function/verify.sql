-- verify: count what breaks an invariant. Moves nothing. See broken: nothing is wrong where this has no row.
create or replace function pawl.verify() returns table (problem text, jobs bigint, example bigint) language sql stable as $$
  select b.what, count(*), min(b.id) from pawl.broken() b group by b.what
$$;
