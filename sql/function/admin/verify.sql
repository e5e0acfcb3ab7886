-- verify counts what breaks an invariant, for each problem: see violations. It returns no row if nothing is wrong.
-- Problems that may exist for a while in normal operation are left out. Moves nothing.
create or replace function pawl.verify() returns table (problem text, jobs bigint, example bigint)
language sql stable as $$
  select b.what, count(*), min(b.id)
  from pawl.violations() b
  where b.what <> all ('{permit-stray,lease-stray}')
  group by b.what
$$;
