-- advance_sequence: let the sequence of ids go on beyond every id in use. Returns 1 if it was behind, else 0.
-- Survives: inserts at work (altering the sequence waits until nobody draws from it, and keeps it so to the end of the transaction; the
-- ids are read after that). It takes the owner.
create or replace function pawl.advance_sequence() returns bigint language plpgsql as $$
declare
  top bigint;
begin
  execute 'alter sequence pawl.pos cache 1';
  select max(u.id) into top
  from (select max(j.id) as id from pawl.job j union all select max(t.pos) from pawl.ready t union all select max(d.id) from pawl.dead d) u;
  if top <= (select s.last_value from pawl.pos s) then
    return 0;
  end if;
  execute format('alter sequence pawl.pos restart with %s', top + 1);
  return 1;
end $$;
