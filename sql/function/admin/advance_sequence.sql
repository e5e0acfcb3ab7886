-- advance_sequence moves the sequence of ids above every id in use. It returns 1 if the sequence was behind, else
-- 0.
-- Survives: inserts at the same time (altering the sequence waits until no transaction draws from it, and no other
-- can draw until this one ends; the ids are read after that). Only the owner may call it.
create or replace function pawl.advance_sequence() returns bigint language plpgsql as $$
declare
  top bigint;
begin
  execute 'alter sequence pawl.pos cache 1';
  select max(u.id) into top
  from (select max(j.id) as id from pawl.job j
        union all
        select max(t.pos) from pawl.ready t
        union all
        select max(d.id) from pawl.dead d) u;
  if top <= (select s.last_value from pawl.pos s) then
    return 0;
  end if;
  execute format('alter sequence pawl.pos restart with %s', top + 1);
  return 1;
end $$;
