-- drop_stale_permits: drop permits whose lease is gone: of workers that died, consumers that did not come back. Returns how many.
-- Index: none; permit has a row a running job of limited queues.
-- Survives: a claim at work (its permits and its lease come together).
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
