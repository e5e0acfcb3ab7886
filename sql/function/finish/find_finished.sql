-- find_finished returns the ids of the (id, epoch) pairs that were finished at this epoch, and the states that they
-- got: they are in archive or dead. A caller uses it when a reply was lost: the second call reports the job as lost,
-- although the first call finished it. It also says whether a job was cancelled while its handler ran.
-- Moves nothing. Index: archive_chunk_min_id, dead's primary key.
create or replace function pawl.find_finished(ids bigint[], epochs integer[]) returns table (id bigint, state text)
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
begin
  return query
  select u.id, c.state
  from unnest(find_finished.ids, find_finished.epochs) as u (id, epoch),
       pawl.archive_chunk c
  where c.min_id between u.id >> 10 << 10 and u.id and c.max_id >= u.id
    and c.epochs[array_position(c.ids, u.id)] = u.epoch
  union
  select d.id, 'dead'
  from unnest(find_finished.ids, find_finished.epochs) as u (id, epoch)
  join pawl.dead d on d.id = u.id and d.epoch = u.epoch;
end $$;
