-- set_worker_state: what a worker is to be: ready, suspended (claims nothing), stopping (finishes what it runs and ends).
-- Returns what it is from now on: stopping stays so. One registered by hand (its pid is 0) is gone at once, what it holds given back.
-- Null: there is none of this id that lives.
create or replace function pawl.set_worker_state(worker bigint, state text) returns text
language plpgsql as $$
#variable_conflict use_column
declare
  told text;
begin
  update pawl.worker w
  set state = case when w.state = 'stopping' then w.state else set_worker_state.state end
  where w.id = set_worker_state.worker and w.gone_at is null
  returning w.state into told;
  if found and told = 'stopping' and exists (select from pawl.worker w where w.id = set_worker_state.worker and w.pid = 0) then
    perform pawl.release_worker(set_worker_state.worker), pawl.unregister_worker(set_worker_state.worker);
  elsif told is not null then
    perform pawl.poke_heartbeats();
  end if;
  return told;
end $$;
