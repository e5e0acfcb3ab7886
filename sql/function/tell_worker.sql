-- tell_worker: what a worker is to be: ready, suspended (claims nothing), stopping (finishes what it runs and ends).
-- Returns what it is from now on: stopping stays so. Null: there is none of this id that lives.
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
  if found then
    perform pawl.hail();
  end if;
  return told;
end $$;
