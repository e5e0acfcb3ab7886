-- list returns jobs that match a filter, live, dead or archived, newest first by id.
--   filter   see the function filter; and {above}: only ids above it
--   below    only ids below it; null: from the newest
--   most     how many jobs to return at most
-- Moves nothing. Returns the columns of get.
-- Index: the primary keys of job and dead have the order, so that a plan made from wrong statistics never sorts a
-- whole table. The archive has an index of chunks. It is read in windows of ids, downwards, each twice as wide as the
-- one before, until there are enough jobs. Jobs that are rare in a large archive are found by reading all of it.
create or replace function pawl.list(filter jsonb, below bigint, most integer) returns table (
  id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint,
  attempt smallint, max_attempts smallint, created_at timestamptz, run_at timestamptz, finished_at timestamptz,
  waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text,
  checkpoint jsonb, result jsonb
) language plpgsql stable set enable_seqscan = off set enable_sort = off set jit = off as $$
#variable_conflict use_column
declare
  live     constant text := pawl.filter(list.filter, 'job');
  dead     constant text := pawl.filter(list.filter, 'dead');
  archived constant text := pawl.filter(list.filter, 'archive');
  common   constant text := 't.queue, t.channel, t.kind, t.args, t.data, t.priority, t.attempt, '
    'coalesce(t.max_attempts, q.max_attempts, 20::smallint), pawl.finite(t.created_at), '
    'pawl.finite(t.run_at)';
  source   constant text := '(select t.* from %s t where t.id >= $1 and t.id < $2 and %s '
    'order by t.id desc limit $3) t left join pawl.queue q on q.name = t.queue';
  parts    text[];
  high     bigint := coalesce(below, 9223372036854775807);
  bottom   constant bigint := coalesce((list.filter ->> 'above')::bigint + 1, 0);
  low      bigint := bottom;
  width    bigint := greatest(2::bigint * most, 1000);
  rest     bigint := most;
  got      bigint;
begin
  if live is not null then
    parts := parts || ('select t.id, ' || pawl.live_state() || ', null::text, ' || common
      || ', null::timestamptz, null::bigint, null::bigint, null::text, t.fingerprint, t.opts, t.errors, t.unique_key, '
      || 't.checkpoint, null::jsonb from '
      || format(source, 'pawl.job', live));
  end if;
  if dead is not null then
    parts := parts || ('select t.id, ''dead'', t.reason, ' || common
      || ', pawl.finite(t.finished_at), t.waited_ms, t.ran_ms, t.worker, t.fingerprint, t.opts, t.errors, '
      || 't.unique_key, t.checkpoint, null::jsonb from '
      || format(source, 'pawl.dead', dead));
  end if;
  if archived is not null then
    parts := parts || ('select t.id, t.state, null::text, ' || common
      || ', pawl.finite(t.finished_at), t.waited_ms, t.ran_ms, t.worker, t.fingerprint, t.opts, t.errors, '
      || 't.unique_key, t.checkpoint, t.result from '
      || format(source, pawl.archive_source(list.filter), archived || case when list.filter ? 'ids' then ''
                   else ' and t.chunk >= $1 >> 10 << 10 and t.chunk < $2' end));
    if not list.filter ? 'ids' then
      low := greatest(bottom, least(high, (select p.last_value + 1 from pawl.pos p)) - width);
    end if;
  end if;
  if parts is null then
    return;
  end if;
  loop
    return query execute array_to_string(parts, ' union all ') || ' order by 1 desc limit $3' using low, high, rest;
    get diagnostics got = row_count;
    rest := rest - got;
    exit when rest <= 0 or low <= bottom;
    width := 2 * width;
    high := low;
    low := greatest(bottom, low - width);
  end loop;
end $$;
