-- find_finished returns the ids of the (id, epoch) pairs that were finished at this epoch, and the states that they got:
-- they are in archive or dead. A caller uses it when a reply was lost: the second call reports the job as lost, although
-- the first call finished it. It also says whether a job was cancelled while its handler ran.
-- Moves nothing. Index: archive's BRIN, dead's primary key.
create or replace function pawl.find_finished(ids bigint[], epochs integer[]) returns table (id bigint, state text)
language sql stable as $$
  select a.id, a.state
  from unnest(ids, epochs) as u (id, epoch) join pawl.archive a on a.id = u.id and a.epoch = u.epoch
  union
  select d.id, 'dead' from unnest(ids, epochs) as u (id, epoch) join pawl.dead d on d.id = u.id and d.epoch = u.epoch
$$;
