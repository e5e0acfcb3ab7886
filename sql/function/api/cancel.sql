-- cancel: finish jobs as cancelled, whatever they are doing; how many. A running handler hears of it with its worker's next heartbeat.
create or replace function pawl.cancel(variadic ids bigint[]) returns bigint language sql as $$
  select count(*) from pawl.remove(cancel.ids, array_fill(null::integer, array[cardinality(cancel.ids)]), true)
$$;
