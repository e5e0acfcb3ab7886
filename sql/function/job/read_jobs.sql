-- read_jobs is get or list for callers that cannot read the result of these, because the database fails to compute or
-- send a row.
--   ids                   read what get(ids) returns; null: nothing of it
--   filter, below, most   read what list(filter, below, most) returns; a null filter: nothing of it
-- Moves nothing. Returns their columns, and before them why a row is unreadable, or null. Of an unreadable row it
-- leaves out the columns that cannot be read. It reads each row in a subtransaction.
-- Index: those of get and list.
create or replace function pawl.read_jobs(ids bigint[], filter jsonb, below bigint, most integer) returns table (
  unreadable text,
  id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint,
  attempt smallint, max_attempts smallint, created_at timestamptz, run_at timestamptz, finished_at timestamptz,
  waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text,
  checkpoint jsonb, result jsonb
) language plpgsql stable set jit = off as $$
#variable_conflict use_column
declare
  it record;
begin
  for it in
    select * from pawl.get(read_jobs.ids) where read_jobs.ids is not null
    union all
    select * from pawl.list(read_jobs.filter, read_jobs.below, read_jobs.most) where read_jobs.filter is not null
  loop
    unreadable := pawl.why_unreadable(it.args, it.data, it.opts, it.errors, it.checkpoint, it.result);
    if unreadable is not null then
      it.args := pawl.readable_or_null(it.args);
      it.opts := pawl.readable_or_null(it.opts);
      it.errors := pawl.readable_or_null(it.errors);
      it.checkpoint := pawl.readable_or_null(it.checkpoint);
      it.result := pawl.readable_or_null(it.result);
      if pawl.why_unreadable(null, it.data, null, null, null, null) is not null then
        it.data := null;
      end if;
    end if;
    return query
    select unreadable, it.id, it.state, it.reason, it.queue, it.channel, it.kind, it.args, it.data, it.priority,
           it.attempt, it.max_attempts, it.created_at, it.run_at, it.finished_at, it.waited_ms, it.ran_ms, it.worker,
           it.fingerprint, it.opts, it.errors, it.unique_key, it.checkpoint, it.result;
  end loop;
end $$;
