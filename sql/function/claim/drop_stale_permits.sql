-- drop_stale_permits deletes permits whose lease is gone, because a worker died or a consumer did not return. It
-- returns their number, and wakes runners that may wait for a permit.
-- Index: none; permit has one row for each running job of limited queues.
-- Survives: a claim at the same time (its permits and its lease are committed together).
create or replace function pawl.drop_stale_permits() returns bigint language plpgsql as $$
#variable_conflict use_column
declare
  queues text[];
  n      bigint;
begin
  with gone as (
    delete from pawl.permit p
    where not exists (select from pawl.lease l where l.id = p.lease)
    returning p.queue
  )
  select count(*), array_agg(distinct g.queue) filter (where g.queue <> '') into n, queues from gone g;
  perform pawl.wake(queues);
  return n;
end $$;
