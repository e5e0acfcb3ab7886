-- find_finished: of (id, epoch) pairs, those that were finished by who held them: found in archive or dead.
-- For an answer that was lost: told "not yours" the second time, look here before believing it.
create or replace function pawl.find_finished(ids bigint[], epochs integer[]) returns setof bigint
language sql stable as $$
  select a.id from unnest(ids, epochs) as u (id, epoch) join pawl.archive a on a.id = u.id and a.epoch = u.epoch
  union
  select d.id from unnest(ids, epochs) as u (id, epoch) join pawl.dead d on d.id = u.id and d.epoch = u.epoch
$$;
