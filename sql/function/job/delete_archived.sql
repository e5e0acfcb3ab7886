-- delete_archived deletes completed and cancelled jobs, and returns the ids of those that existed.
-- Moves: each chunk with one of the jobs out. A job of the chunk that stays becomes a chunk of its own.
-- Index: archive_chunk_min_id.
-- Survives: two calls at once. A call that waited for another one skips the chunk that the other one deleted, and
-- looks again, with a new snapshot, at what is left of it.
create or replace function pawl.delete_archived(ids bigint[]) returns bigint[]
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  deleted bigint[] := '{}';
  found   bigint[];
begin
  while cardinality(deleted) < cardinality(delete_archived.ids) loop
    with chunk as materialized (
      delete from pawl.archive_chunk c
      where c.min_id = any (array(
        select l.min_id
        from unnest(delete_archived.ids) as u (id),
             lateral (select c.min_id from pawl.archive_chunk c
                      where c.min_id between u.id >> 10 << 10 and u.id and c.max_id >= u.id and u.id = any (c.ids)) l
      ))
      returning c.*
    ),
    stays as (
      insert into pawl.archive_chunk (min_id, max_id, n, finished_at, expires_at, state, queue, worker, ids, epochs,
                                      created_at, run_at, waited_ms, ran_ms, priority, attempt, max_attempts, channel,
                                      kind, args, data, fingerprint, unique_key, opts, errors, checkpoint, result)
      select u.id, u.id, 1, c.finished_at, c.expires_at, c.state, c.queue, c.worker, array[u.id], array[u.epoch],
             array[u.created_at], nullif(array[u.run_at], '{null}'), nullif(array[u.waited_ms], '{null}'),
             nullif(array[u.ran_ms], '{null}'), array[u.priority], array[u.attempt],
             nullif(array[u.max_attempts], '{null}'), array[u.channel], array[u.kind],
             nullif(array[u.args], '{null}'), nullif(array[u.data], '{null}'),
             nullif(array[u.fingerprint], '{null}'), nullif(array[u.unique_key], '{null}'),
             nullif(array[u.opts], '{null}'), nullif(array[u.errors], '{null}'),
             nullif(array[u.checkpoint], '{null}'), nullif(array[u.result], '{null}')
      from chunk c,
           unnest(c.ids, c.epochs, c.created_at, c.run_at, c.waited_ms, c.ran_ms, c.priority, c.attempt,
                  c.max_attempts, c.channel, c.kind, c.args, c.data, c.fingerprint, c.unique_key, c.opts, c.errors,
                  c.checkpoint, c.result)
             as u (id, epoch, created_at, run_at, waited_ms, ran_ms, priority, attempt, max_attempts, channel, kind,
                   args, data, fingerprint, unique_key, opts, errors, checkpoint, result)
      where c.n > 1 and u.id not in (select i.id from unnest(delete_archived.ids) as i (id))
    )
    select array_agg(u.id) into found
    from chunk c, unnest(c.ids) as u (id)
    where u.id in (select i.id from unnest(delete_archived.ids) as i (id));
    deleted := deleted || coalesce(found, '{}');
    exit when not exists (
      select
      from unnest(delete_archived.ids) as u (id),
           lateral (select from pawl.archive_chunk c
                    where c.min_id between u.id >> 10 << 10 and u.id and c.max_id >= u.id and u.id = any (c.ids)) l
    );
  end loop;
  return deleted;
end $$;
