-- set_worker_state sets the state that a worker is to have: ready, suspended (it claims nothing) or stopping (it
-- finishes its jobs and ends).
-- Returns the new state: a worker that is stopping stays so. Null: no live worker has this id.
-- A worker that was registered by hand (its pid is 0) is gone at once when it is stopped, and its jobs are
-- returned.
create or replace function pawl.set_worker_state(worker bigint, state text) returns text
language plpgsql as $$
#variable_conflict use_column
declare
  became text;
begin
  if (set_worker_state.state = any ('{ready,suspended,stopping}')) is not true then
    raise exception 'pawl: there is no worker state %; want ready, suspended or stopping',
      left(coalesce(set_worker_state.state, 'null'), 64) using errcode = '22023';
  end if;
  update pawl.worker w
  set state = case when w.state = 'stopping' then w.state else set_worker_state.state end
  where w.id = set_worker_state.worker and w.gone_at is null
  returning w.state into became;
  if found and became = 'stopping'
     and exists (select from pawl.worker w where w.id = set_worker_state.worker and w.pid = 0) then
    perform pawl.release_worker(set_worker_state.worker), pawl.unregister_worker(set_worker_state.worker);
  elsif became is not null then
    perform pawl.poke_heartbeats();
  end if;
  return became;
end $$;
