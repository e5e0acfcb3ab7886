-- cancel cancels jobs, whatever their state, and returns how many it cancelled. The context of a running handler is
-- cancelled with the next heartbeat of its worker.
create or replace function pawl.cancel(variadic ids bigint[]) returns bigint language sql set jit = off as $$
  select count(*) from pawl.remove(cancel.ids, array_fill(null::integer, array[cardinality(cancel.ids)]), true)
$$;
