-- find_archived returns the completed and cancelled jobs with these ids: rows of archive.
-- Moves nothing. Index: archive_chunk_min_id. A chunk whose range of ids includes an id is read; there are few such
-- chunks for each id, because the ids of a chunk have the same id >> 10.
create or replace function pawl.find_archived(ids bigint[]) returns setof pawl.archive
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
begin
  return query
  select u.id, c.finished_at, c.expires_at, c.created_at[p.i], c.run_at[p.i], c.waited_ms[p.i], c.ran_ms[p.i],
         c.epochs[p.i], c.priority[p.i], c.attempt[p.i], c.max_attempts[p.i], c.state, c.queue, c.channel[p.i],
         c.kind[p.i], c.worker, c.args[p.i], c.data[p.i], c.fingerprint[p.i], c.unique_key[p.i], c.opts[p.i],
         c.errors[p.i], c.checkpoint[p.i], c.result[p.i], c.min_id
  from unnest(find_archived.ids) as u (id),
       pawl.archive_chunk c,
       lateral (select array_position(c.ids, u.id) as i offset 0) p
  where c.min_id between u.id >> 10 << 10 and u.id and c.max_id >= u.id and p.i is not null;
end $$;
