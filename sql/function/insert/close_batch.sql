-- close_batch ends the insert of a batch. If the batch has no jobs, it is finished, and its callback jobs are inserted.
--   id   a batch that this transaction has inserted; of others it changes nothing
-- Index: batch's primary key.
create or replace function pawl.close_batch(id bigint) returns void language plpgsql as $$
begin
  perform from pawl.batch b
  where b.id = close_batch.id and b.xact = pg_current_xact_id() and b.total = 0 and b.finished_at is null;
  if found then
    perform pawl.count_batch(close_batch.id, 'none', 0);
  end if;
end $$;
