-- verify: count what breaks an invariant. Moves nothing. See broken: nothing is wrong where this has no row. What may be so for a while
-- is left out.
create or replace function pawl.verify() returns table (problem text, jobs bigint, example bigint)
language sql stable as $$
  select b.what, count(*), min(b.id) from pawl.violations() b where b.what <> all ('{permit-stray,lease-stray}') group by b.what
$$;
