-- tell_worker: what a worker is to be: ready, suspended (claims nothing), stopping (finishes what it runs and ends).
-- Returns what it is from now on: stopping stays so. One registered by hand (its pid is 0) is gone at once, what it holds given back.
-- Null: there is none of this id that lives.
create or replace function pawl.tell_worker(worker bigint, state text) returns text
language plpgsql as $$
#variable_conflict use_column
declare
  told text;
begin
  update pawl.worker w
  set state = case when w.state = 'stopping' then w.state else tell_worker.state end
  where w.id = tell_worker.worker and w.gone_at is null
  returning w.state into told;
  if found and told = 'stopping' and exists (select from pawl.worker w where w.id = tell_worker.worker and w.pid = 0) then
    perform pawl.release_worker(tell_worker.worker), pawl.unregister(tell_worker.worker);
  elsif told is not null then
    perform pawl.hail();
  end if;
  return told;
end $$;
