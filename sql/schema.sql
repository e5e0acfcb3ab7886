-- What the migrations and functions make, for reading. Made by `make schema`; a test compares it.

table archive_chunk (
  min_id bigint not null,
  max_id bigint not null,
  n integer not null,
  finished_at timestamp with time zone not null,
  expires_at timestamp with time zone not null,
  state text collate "C" not null,
  queue text collate "C" not null,
  worker text,
  ids bigint[] not null,
  epochs integer[] not null,
  created_at timestamp with time zone[] not null,
  run_at timestamp with time zone[],
  waited_ms bigint[],
  ran_ms bigint[],
  priority smallint[] not null,
  attempt smallint[] not null,
  max_attempts smallint[],
  channel text[] collate "C" not null,
  kind text[] collate "C" not null,
  args jsonb[],
  data bytea[],
  fingerprint text[] collate "C",
  unique_key text[] collate "C",
  opts jsonb[],
  errors jsonb[],
  checkpoint jsonb[],
  result jsonb[]
) partition by RANGE (expires_at);

table batch (
  id bigint not null,
  created_at timestamp with time zone not null default clock_timestamp(),
  finished_at timestamp with time zone,
  xact xid8 not null default pg_current_xact_id(),
  total integer not null,
  completed integer not null default 0,
  cancelled integer not null default 0,
  dead integer not null default 0,
  on_finish jsonb,
  on_success jsonb,
  on_death jsonb
) with (fillfactor=50, autovacuum_vacuum_threshold=500, autovacuum_vacuum_scale_factor=0.05, vacuum_truncate=false);

table blocked (
  job_id bigint not null,
  epoch integer not null,
  queue text collate "C" not null,
  expires_at timestamp with time zone
) with (autovacuum_vacuum_threshold=1000, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0, vacuum_truncate=false);

table bucket (
  queue text collate "C" not null,
  of_channel boolean not null,
  channel text collate "C" not null,
  tokens double precision not null,
  at timestamp with time zone not null
) with (fillfactor=50, autovacuum_vacuum_threshold=500, autovacuum_vacuum_scale_factor=0.05, vacuum_truncate=false);

table counter (
  client uuid not null,
  queue text collate "C" not null,
  slot bigint not null,
  inserted bigint[] not null,
  completed bigint[] not null,
  failed bigint[] not null
) with (fillfactor=50, autovacuum_vacuum_threshold=500, autovacuum_vacuum_scale_factor=0.1, vacuum_truncate=false);

table cron (
  name text collate "C" not null,
  spec text not null,
  zone text not null,
  job jsonb not null,
  jitter interval not null default '00:00:00'::interval,
  catch_up integer not null default 0,
  version integer not null default 0,
  paused boolean not null default false,
  last_at timestamp with time zone,
  next_at timestamp with time zone not null,
  created_at timestamp with time zone not null default now()
) with (autovacuum_vacuum_threshold=100, autovacuum_vacuum_scale_factor=0.1, vacuum_truncate=false);

table dead (
  id bigint not null,
  finished_at timestamp with time zone not null,
  expires_at timestamp with time zone not null,
  created_at timestamp with time zone not null,
  run_at timestamp with time zone,
  waited_ms bigint,
  ran_ms bigint,
  epoch integer not null,
  priority smallint not null,
  attempt smallint not null,
  max_attempts smallint,
  crashes smallint not null,
  reason text collate "C" not null,
  queue text collate "C" not null,
  channel text collate "C" not null,
  kind text collate "C" not null,
  worker text,
  args jsonb,
  data bytea,
  fingerprint text collate "C",
  unique_key text collate "C",
  opts jsonb,
  errors jsonb,
  checkpoint jsonb
) with (vacuum_truncate=false);

table dependency (
  parent_id bigint not null,
  child_id bigint not null,
  on_state text collate "C" not null,
  keep_waiting boolean not null
) with (autovacuum_vacuum_threshold=1000, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0, vacuum_truncate=false);

table followup (
  id bigint not null,
  job_id bigint not null,
  queue text collate "C" not null,
  channel text collate "C" not null,
  ordered boolean not null,
  batch bigint,
  became text collate "C" not null,
  tries smallint not null default 0,
  error text
) with (autovacuum_vacuum_threshold=1000, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0, vacuum_truncate=false);

table halted_channel (
  queue text collate "C" not null,
  channel text collate "C" not null,
  job_id bigint not null,
  halted_at timestamp with time zone not null
);

table job (
  id bigint not null,
  pos bigint,
  created_at timestamp with time zone not null,
  run_at timestamp with time zone,
  epoch integer not null,
  priority smallint not null,
  attempt smallint not null default 0,
  max_attempts smallint,
  crashes smallint not null default 0,
  constrained boolean not null default false,
  queue text collate "C" not null,
  channel text collate "C" not null,
  kind text collate "C" not null,
  args jsonb,
  data bytea,
  fingerprint text collate "C",
  unique_key text collate "C",
  opts jsonb,
  errors jsonb,
  checkpoint jsonb
) with (autovacuum_vacuum_threshold=2000, autovacuum_vacuum_scale_factor=0.1, autovacuum_vacuum_cost_delay=0, autovacuum_vacuum_insert_scale_factor=0.5, autovacuum_analyze_scale_factor=0.5, vacuum_truncate=false);

table lease (
  id uuid not null,
  worker_id bigint,
  expires_at timestamp with time zone,
  jobs bigint[] not null,
  epochs integer[] not null
) with (autovacuum_vacuum_threshold=500, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0, autovacuum_analyze_threshold=1000000000, vacuum_truncate=false, toast_tuple_target=8160);

table migration (
  version integer not null,
  name text not null,
  applied_at timestamp with time zone not null default now()
);

table mutex (
  kind text collate "C" not null,
  queue text collate "C" not null,
  name text collate "C" not null
) with (autovacuum_vacuum_threshold=1000, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0, vacuum_truncate=false);

table ordered_job (
  queue text collate "C" not null,
  channel text collate "C" not null,
  pos bigint not null,
  job_id bigint not null
) with (autovacuum_vacuum_threshold=1000, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0, vacuum_truncate=false);

table permit (
  queue text collate "C" not null,
  channel text collate "C" not null,
  job_id bigint not null,
  lease uuid not null
) with (autovacuum_vacuum_threshold=500, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0, vacuum_truncate=false);

table queue (
  name text collate "C" not null,
  paused boolean not null default false,
  max_attempts smallint,
  backoff jsonb,
  lease interval,
  retain_completed interval,
  retain_cancelled interval,
  retain_dead interval,
  halt_on_dead boolean not null default false,
  max_running integer,
  channel_max_running integer,
  rate jsonb,
  channel_rate jsonb,
  weights jsonb,
  created_at timestamp with time zone not null default now(),
  limited boolean not null default ((max_running IS NOT NULL) OR (channel_max_running IS NOT NULL) OR (rate IS NOT NULL) OR (channel_rate IS NOT NULL))
);

table ready (
  pos bigint not null,
  job_id bigint not null,
  epoch integer not null,
  priority integer not null,
  queue text collate "C" not null,
  channel text collate "C" not null
) with (autovacuum_vacuum_threshold=2000, autovacuum_vacuum_scale_factor=0.1, autovacuum_vacuum_cost_delay=0, autovacuum_vacuum_insert_scale_factor=0.5, autovacuum_analyze_scale_factor=0.5, vacuum_truncate=false);

table scheduled (
  run_at timestamp with time zone not null,
  job_id bigint not null,
  epoch integer not null,
  queue text collate "C" not null
) with (autovacuum_vacuum_threshold=2000, autovacuum_vacuum_scale_factor=0.1, autovacuum_vacuum_cost_delay=0, autovacuum_vacuum_insert_scale_factor=0.5, autovacuum_analyze_scale_factor=0.5, vacuum_truncate=false);

table unique_key (
  scope text collate "C" not null,
  key text collate "C" not null,
  job_id bigint not null,
  live boolean not null,
  until_start boolean not null,
  keep_until timestamp with time zone
) with (autovacuum_vacuum_threshold=1000, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0, vacuum_truncate=false);

table worker (
  id bigint not null,
  name text not null,
  host text not null,
  pid integer not null,
  version text not null,
  queues text[],
  state text collate "C" not null default 'ready'::text,
  running integer not null default 0,
  stuck text[] collate "C",
  problem text,
  started_at timestamp with time zone not null,
  seen_at timestamp with time zone not null,
  gone_at timestamp with time zone,
  stale_after interval not null
) with (fillfactor=50, autovacuum_vacuum_threshold=100, autovacuum_vacuum_scale_factor=0.1, vacuum_truncate=false);

view archive (id bigint, finished_at timestamp with time zone, expires_at timestamp with time zone, created_at timestamp with time zone, run_at timestamp with time zone, waited_ms bigint, ran_ms bigint, epoch integer, priority smallint, attempt smallint, max_attempts smallint, state text, queue text, channel text, kind text, worker text, args jsonb, data bytea, fingerprint text, unique_key text, opts jsonb, errors jsonb, checkpoint jsonb, result jsonb, chunk bigint);

CREATE INDEX archive_chunk_min_id ON ONLY pawl.archive_chunk USING btree (min_id, max_id);

CREATE INDEX batch_finished_at ON pawl.batch USING btree (finished_at) WHERE (finished_at IS NOT NULL);

CREATE UNIQUE INDEX batch_pkey ON pawl.batch USING btree (id);

CREATE INDEX blocked_expires_at ON pawl.blocked USING btree (expires_at) WHERE (expires_at IS NOT NULL);

CREATE UNIQUE INDEX blocked_pkey ON pawl.blocked USING btree (job_id);

CREATE INDEX blocked_queue ON pawl.blocked USING btree (queue, expires_at);

CREATE UNIQUE INDEX bucket_pkey ON pawl.bucket USING btree (queue, of_channel, channel);

CREATE UNIQUE INDEX counter_pkey ON pawl.counter USING btree (client, queue);

CREATE INDEX cron_next_at ON pawl.cron USING btree (next_at) WHERE (NOT paused);

CREATE UNIQUE INDEX cron_pkey ON pawl.cron USING btree (name);

CREATE INDEX dead_expires_at ON pawl.dead USING btree (expires_at);

CREATE UNIQUE INDEX dead_pkey ON pawl.dead USING btree (id);

CREATE INDEX dead_queue ON pawl.dead USING btree (queue, id);

CREATE INDEX dependency_child_id ON pawl.dependency USING btree (child_id);

CREATE UNIQUE INDEX dependency_pkey ON pawl.dependency USING btree (parent_id, child_id, on_state);

CREATE UNIQUE INDEX followup_pkey ON pawl.followup USING btree (id);

CREATE UNIQUE INDEX halted_channel_pkey ON pawl.halted_channel USING btree (queue, channel);

CREATE INDEX job_fingerprint ON pawl.job USING btree (fingerprint, id) WHERE (fingerprint IS NOT NULL);

CREATE UNIQUE INDEX job_pkey ON pawl.job USING btree (id);

CREATE INDEX job_unique_key ON pawl.job USING btree (unique_key, id) WHERE (unique_key IS NOT NULL);

CREATE INDEX lease_expires_at ON pawl.lease USING btree (expires_at) WHERE (expires_at IS NOT NULL);

CREATE UNIQUE INDEX lease_pkey ON pawl.lease USING btree (id);

CREATE INDEX lease_worker_id ON pawl.lease USING btree (worker_id) WHERE (worker_id IS NOT NULL);

CREATE UNIQUE INDEX migration_pkey ON pawl.migration USING btree (version);

CREATE UNIQUE INDEX mutex_pkey ON pawl.mutex USING btree (kind, queue, name);

CREATE UNIQUE INDEX ordered_job_job_id ON pawl.ordered_job USING btree (job_id);

CREATE UNIQUE INDEX ordered_job_pkey ON pawl.ordered_job USING btree (queue, channel, pos);

CREATE INDEX permit_job_id ON pawl.permit USING btree (job_id);

CREATE UNIQUE INDEX permit_pkey ON pawl.permit USING btree (queue, channel, job_id, lease);

CREATE INDEX queue_limited ON pawl.queue USING btree (name) WHERE limited;

CREATE UNIQUE INDEX queue_pkey ON pawl.queue USING btree (name);

CREATE UNIQUE INDEX ready_pkey ON pawl.ready USING btree (queue, priority, channel, pos);

CREATE UNIQUE INDEX scheduled_pkey ON pawl.scheduled USING btree (queue, run_at, job_id);

CREATE INDEX unique_key_job_id ON pawl.unique_key USING btree (job_id);

CREATE INDEX unique_key_keep_until ON pawl.unique_key USING btree (keep_until) WHERE (NOT live);

CREATE UNIQUE INDEX unique_key_pkey ON pawl.unique_key USING btree (scope, key);

CREATE UNIQUE INDEX worker_pkey ON pawl.worker USING btree (id);

sequence followup_id_seq cache 1;

sequence pos cache 1;

sequence worker_id_seq cache 1;

function abort_reserved(ids bigint[])
  returns void
  language plpgsql;

function acquire_permits(keys text[], most integer, job bigint, lease uuid)
  returns boolean
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off;

function add_mutexes(kind text, queues text[], names text[])
  returns void
  language sql;

function advance_sequence()
  returns bigint
  language plpgsql;

function apply_retention(most integer)
  returns bigint
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set jit=off;

function archive_source(filter jsonb)
  returns text
  language sql stable;

function available_tokens(queue text, of_channel boolean, channel text, rate jsonb)
  returns double precision
  language sql;

function await_key(slot bigint)
  returns bigint
  language sql immutable parallel safe;

function backoff(backoff jsonb, attempt integer)
  returns double precision
  language sql parallel safe;

function bury(id bigint, epoch integer, problem text)
  returns boolean
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function bury_unreadable(most integer, queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], quotas integer[])
  returns TABLE(id bigint, queue text, lane integer, channel text, pos bigint, problem text)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function cancel(VARIADIC ids bigint[])
  returns bigint
  language sql set jit=off;

function channel_stats(name text, most integer)
  returns TABLE(channel text, reserved bigint, scheduled bigint, ready bigint, running bigint, dead bigint, estimated boolean, oldest_ready double precision, lag double precision)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off set jit=off;

function check_claim_size(bytes numeric)
  returns boolean
  language plpgsql immutable;

function checkpoint(id bigint, epoch integer, changes jsonb)
  returns boolean
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set jit=off;

function claim(lease uuid, worker bigint, lasting interval, most integer, queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], quotas integer[])
  returns TABLE(queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, crashes smallint, constrained boolean, permit boolean, created_at timestamp with time zone, run_at timestamp with time zone, fingerprint text, unique_key text, opts jsonb, errors jsonb, checkpoint jsonb, now timestamp with time zone)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function claim(queue text, n integer DEFAULT 1, lasting interval DEFAULT NULL::interval)
  returns TABLE(id bigint, epoch integer, kind text, args jsonb, data bytea, channel text, priority smallint, attempt integer, max_attempts smallint, headers jsonb, checkpoint jsonb, lease uuid)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off set jit=off;

function claim_bounded(lease uuid, worker bigint, lasting interval, most integer, queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], quotas integer[])
  returns TABLE(queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, crashes smallint, constrained boolean, permit boolean, created_at timestamp with time zone, run_at timestamp with time zone, fingerprint text, unique_key text, opts jsonb, errors jsonb, checkpoint jsonb, now timestamp with time zone)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function claim_readable(lease uuid, worker bigint, lasting interval, most integer, queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], quotas integer[])
  returns TABLE(queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, crashes smallint, constrained boolean, permit boolean, created_at timestamp with time zone, run_at timestamp with time zone, fingerprint text, unique_key text, opts jsonb, errors jsonb, checkpoint jsonb, now timestamp with time zone)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function claimed(ids bigint[])
  returns TABLE(id bigint, epoch integer, crashes smallint, constrained boolean, permit boolean, lease uuid, until timestamp with time zone, shared integer, now timestamp with time zone)
  language plpgsql stable set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set jit=off;

function clear_leftovers(ids bigint[])
  returns bigint
  language plpgsql set jit=off;

function close_batch(id bigint)
  returns void
  language plpgsql;

function commit_reserved(ids bigint[])
  returns void
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set jit=off;

function complete(id bigint, epoch integer, result jsonb DEFAULT NULL::jsonb)
  returns boolean
  language plpgsql set jit=off;

function complete(ids bigint[], epochs integer[], waited bigint[], ran bigint[], results text[], worker text, keep bigint[], leases uuid[])
  returns SETOF bigint
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off set jit=off;

function complete_isolated(ids bigint[], epochs integer[], waited bigint[], ran bigint[], results text[], worker text, keep bigint[])
  returns TABLE(id bigint, problem text)
  language plpgsql;

function count(filter jsonb, below bigint, most bigint)
  returns bigint
  language plpgsql stable set jit=off;

function count_batch(batch bigint, became text, by integer)
  returns boolean
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off;

function delete_archived(ids bigint[])
  returns bigint[]
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off set jit=off;

function delete_queue(name text)
  returns text
  language plpgsql;

function discover_lanes(low_queues text[], low_priorities integer[], low_channels text[], high_queues text[], high_priorities integer[], high_channels text[], queues text[], any_queue boolean, most integer DEFAULT NULL::integer)
  returns TABLE(queue text, priority integer, channel text)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off;

function drop_partition(day date)
  returns void
  language plpgsql set lock_timeout=100ms;

function drop_stale_permits()
  returns bigint
  language plpgsql;

function due_cron(names text[], specs text[], zones text[])
  returns double precision
  language plpgsql stable set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off;

function end_leases(leases uuid[])
  returns void
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function estimate_counts(names text[], counts bigint[], most bigint, relation regclass, condition text)
  returns bigint[]
  language plpgsql stable set jit=off;

function estimate_rows(query text)
  returns bigint
  language plpgsql;

function expanded_size(args jsonb, data bytea, checkpoint jsonb)
  returns bigint
  language sql stable parallel safe;

function expire(most integer)
  returns bigint
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off;

function extend(id bigint, epoch integer, lease uuid, lasting interval)
  returns boolean
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off set jit=off;

function extend(ids bigint[], epochs integer[], leases uuid[], split uuid, lasting interval)
  returns TABLE(id bigint, lease uuid)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off set jit=off;

function extend_reserved(ids bigint[], lasting interval)
  returns void
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off;

function fail(id bigint, epoch integer, error text, delay double precision DEFAULT NULL::double precision, outcome text DEFAULT 'retry'::text)
  returns text
  language plpgsql set jit=off;

function fail(ids bigint[], epochs integer[], outcomes text[], delays double precision[], backoffs text[], errors text[], waited bigint[], ran bigint[], worker text)
  returns TABLE(id bigint, became text)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off set jit=off;

function filter(filter jsonb, source text)
  returns text
  language plpgsql stable;

function find_archived(ids bigint[])
  returns SETOF pawl.archive
  language plpgsql stable set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off set jit=off;

function find_finished(ids bigint[], epochs integer[])
  returns TABLE(id bigint, state text)
  language plpgsql stable set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off set jit=off;

function find_missing(ids bigint[], epochs integer[])
  returns bigint[]
  language plpgsql stable set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function find_tickets(queue text, kinds text[], most integer)
  returns TABLE(priority integer, channel text, pos bigint, id bigint)
  language plpgsql stable set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off set enable_sort=off set jit=off;

function find_unreadable(ids bigint[], step integer)
  returns TABLE(id bigint, problem text)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function finite(moment timestamp with time zone)
  returns timestamp with time zone
  language sql stable parallel safe;

function followup_of(id bigint, queue text, channel text, opts jsonb)
  returns jsonb
  language sql immutable parallel safe;

function free_permits(ids bigint[], leases uuid[])
  returns void
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off;

function get(ids bigint[])
  returns TABLE(id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, created_at timestamp with time zone, run_at timestamp with time zone, finished_at timestamp with time zone, waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text, checkpoint jsonb, result jsonb)
  language plpgsql stable set plan_cache_mode=force_generic_plan set enable_seqscan=off;

function grant_roles(make boolean)
  returns void
  language plpgsql;

function heartbeat(worker bigint)
  returns text
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function heartbeat(worker bigint, running integer, ids bigint[], epochs integer[], stuck text[] DEFAULT NULL::text[], problem text DEFAULT NULL::text)
  returns TABLE(state text, missing bigint[])
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off;

function insert(kind text, args jsonb DEFAULT NULL::jsonb, opts jsonb DEFAULT '{}'::jsonb)
  returns bigint
  language sql set jit=off;

function insert(queues text[], channels text[], priorities smallint[], kinds text[], args text[], data bytea[], delays double precision[], run_ats timestamp with time zone[], attempts smallint[], fingerprints text[], opts text[])
  returns SETOF bigint
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off set jit=off;

function insert_batch(id bigint, on_finish jsonb, on_success jsonb, on_death jsonb)
  returns void
  language plpgsql;

function insert_constrained(specs jsonb, args jsonb[] DEFAULT NULL::jsonb[], data bytea[] DEFAULT NULL::bytea[])
  returns TABLE(id bigint, duplicate boolean)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set jit=off;

function insert_many(jobs jsonb)
  returns TABLE(id bigint, duplicate boolean)
  language plpgsql set plan_cache_mode=force_generic_plan set jit=off;

function is_fault_of_row(state text, violated text)
  returns boolean
  language sql immutable parallel safe;

function is_plain_spec(spec jsonb)
  returns boolean
  language sql immutable parallel safe;

function is_rate(rate jsonb)
  returns boolean
  language sql immutable parallel safe;

function isolate_followup(id bigint)
  returns text
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off;

function key_is_free(id bigint, queue text, key text, opts jsonb)
  returns boolean
  language sql stable;

function key_scope(queue text, opts jsonb)
  returns text
  language sql immutable parallel safe;

function lane_priority(priority integer, crashes integer, returned boolean)
  returns integer
  language sql immutable parallel safe;

function limit_quotas(limited text[], queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], asked integer[])
  returns TABLE(quotas integer[], waits double precision[])
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off;

function list(filter jsonb, below bigint, most integer)
  returns TABLE(id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, created_at timestamp with time zone, run_at timestamp with time zone, finished_at timestamp with time zone, waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text, checkpoint jsonb, result jsonb)
  language plpgsql stable set enable_seqscan=off set enable_sort=off set jit=off;

function live_queues()
  returns SETOF text
  language sql stable set enable_seqscan=off set enable_bitmapscan=off set jit=off;

function live_state()
  returns text
  language sql immutable parallel safe;

function lock_is_free(key bigint)
  returns boolean
  language sql;

function lock_jobs(ids bigint[], epochs integer[])
  returns SETOF bigint
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function lock_mutexes(kind text, queues text[], names text[])
  returns void
  language sql;

function lock_waiting(id bigint)
  returns boolean
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off;

function make_partitions(ahead integer)
  returns integer
  language plpgsql;

function mutex_is_idle(kind text, queue text, name text)
  returns boolean
  language sql stable;

function next_epoch(epoch integer)
  returns integer
  language sql immutable parallel safe;

function peek(queues text[])
  returns TABLE(ready boolean, wait double precision)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off;

function poke_heartbeats()
  returns void
  language sql;

function promote(queues text[], floors timestamp with time zone[], most integer)
  returns TABLE(queue text, moved bigint, due boolean, wait double precision, moment timestamp with time zone)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function prune_mutexes(most integer)
  returns bigint
  language plpgsql set plan_cache_mode=force_generic_plan set enable_mergejoin=off set enable_hashjoin=off set jit=off;

function put_cron(names text[], specs text[], zones text[], jobs text[], jitters interval[], catch_ups integer[], versions integer[], next_ats timestamp with time zone[])
  returns bigint
  language plpgsql;

function queue_frequencies(relations regclass[])
  returns TABLE(queue text, n double precision)
  language plpgsql stable set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set jit=off;

function queue_stats(most integer)
  returns TABLE(queue text, reserved bigint, waiting bigint, scheduled bigint, ready bigint, running bigint, dead bigint, archived bigint, estimated boolean, archive_estimated boolean, permits bigint, oldest_ready double precision, lag double precision, newest timestamp with time zone, inserted double precision, completed double precision, failed double precision)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off set jit=off;

function read_jobs(ids bigint[], filter jsonb, below bigint, most integer)
  returns TABLE(unreadable text, id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, created_at timestamp with time zone, run_at timestamp with time zone, finished_at timestamp with time zone, waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text, checkpoint jsonb, result jsonb)
  language plpgsql stable set jit=off;

function read_marks(queues text[], priorities integer[], channels text[], safes bigint[], needs bigint[], scheduled text[], floors timestamp with time zone[], needs_at bigint[])
  returns TABLE(ord bigint, low_pos bigint, low_at timestamp with time zone, oldest bigint, next bigint)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off;

function readable_or_null(value jsonb)
  returns jsonb
  language plpgsql stable;

function record_deleted(ids bigint[])
  returns void
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off;

function record_followups(ended jsonb, became text)
  returns void
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off;

function record_usage(limited text[], lease uuid)
  returns void
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off;

function recount_batches(ids bigint[])
  returns bigint
  language plpgsql set jit=off;

function register_worker(name text, host text, pid integer, version text, queues text[], stale interval, state text DEFAULT 'ready'::text)
  returns bigint
  language plpgsql;

function release(id bigint, epoch integer, delay double precision DEFAULT 0)
  returns boolean
  language sql set jit=off;

function release_worker(worker bigint)
  returns bigint
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function remove(ids bigint[], epochs integer[], keep boolean)
  returns SETOF bigint
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set jit=off;

function remove_claimed(ids bigint[], epochs integer[], keep boolean)
  returns SETOF bigint
  language plpgsql;

function report_counters(client uuid, queues text[], inserted bigint[], completed bigint[], failed bigint[])
  returns void
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off;

function rescue(most integer, judge boolean, sweep boolean)
  returns TABLE(workers bigint, leases bigint, jobs bigint, poisoned bigint)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_mergejoin=off set enable_hashjoin=off;

function restore_jobs(ids bigint[])
  returns bigint
  language plpgsql set jit=off;

function restore_lost(after bigint, most integer)
  returns TABLE(reached bigint, restored bigint)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off set jit=off;

function resume_channel(queue text, channel text)
  returns boolean
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off;

function retry(ids bigint[])
  returns SETOF bigint
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set jit=off;

function retry_followups(ids bigint[])
  returns bigint
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off;

function return_lost(ids bigint[], epochs integer[])
  returns TABLE(jobs bigint, poisoned bigint, queues text[])
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function return_permit(id bigint, ok boolean)
  returns boolean
  language plpgsql;

function role_name(what text)
  returns text
  language sql stable;

function run_followups(most integer)
  returns TABLE(settled integer, "left" integer, more boolean)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set lock_timeout=50ms;

function sent_size(args jsonb, data bytea, opts jsonb, errors jsonb, checkpoint jsonb)
  returns bigint
  language plpgsql stable parallel safe;

function set_worker_state(worker bigint, state text)
  returns text
  language plpgsql;

function settle_followups(ends bigint[], parts text[])
  returns TABLE(skipped bigint[], more boolean)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off;

function shift_slots(counts bigint[], by bigint, more bigint)
  returns bigint[]
  language sql immutable parallel safe;

function sleep_key(queue text)
  returns bigint
  language sql immutable parallel safe;

function system_stats()
  returns TABLE(now timestamp with time zone, workers bigint, stale bigint, version integer, xmin_age double precision, semaphores jsonb, stuck bigint)
  language plpgsql set plan_cache_mode=force_generic_plan set jit=off;

function table_stats()
  returns TABLE(name text, live bigint, dead bigint, bytes bigint, vacuumed timestamp with time zone)
  language plpgsql set plan_cache_mode=force_generic_plan set jit=off;

function take_cron(names text[], specs text[], zones text[])
  returns TABLE(name text, spec text, zone text, job text, jitter double precision, catch_up integer, last_at timestamp with time zone, next_at timestamp with time zone, moment timestamp with time zone)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off;

function tick_cron(name text, last_at timestamp with time zone, next_at timestamp with time zone)
  returns void
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off;

function try_mutex(kind text, queue text, name text)
  returns boolean
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_bitmapscan=off;

function try_mutexes(kind text, queues text[], names text[])
  returns TABLE(queue text, name text)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function unblock(id bigint)
  returns boolean
  language plpgsql;

function unblock(ids bigint[])
  returns SETOF bigint
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off;

function unclaim(lease uuid)
  returns bigint
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set enable_bitmapscan=off;

function unregister_worker(worker bigint)
  returns void
  language sql;

function update(ids bigint[], changes jsonb)
  returns TABLE(id bigint, became text)
  language plpgsql set plan_cache_mode=force_generic_plan set enable_seqscan=off set enable_mergejoin=off set enable_hashjoin=off set jit=off;

function validate_callbacks(batch bigint, jobs jsonb)
  returns text
  language plpgsql stable;

function validate_changes(changes jsonb)
  returns text
  language plpgsql stable parallel safe;

function validate_checkpoint(changes jsonb)
  returns text
  language sql immutable parallel safe;

function validate_columns(queues text[], kinds text[], delays double precision[], run_ats timestamp with time zone[], attempts smallint[], opts text[])
  returns text
  language plpgsql stable parallel safe;

function validate_constrained(spec jsonb)
  returns text
  language plpgsql stable parallel safe;

function validate_errors(errors jsonb)
  returns text
  language sql stable parallel safe;

function validate_spec(job jsonb)
  returns text
  language plpgsql stable parallel safe;

function verify()
  returns TABLE(problem text, jobs bigint, example bigint)
  language sql stable;

function violations()
  returns TABLE(what text, id bigint, lease uuid)
  language sql stable set enable_nestloop=off set jit=off;

function wake(queues text[])
  returns integer
  language plpgsql;

function wake_awaiting(ids bigint[])
  returns void
  language plpgsql;

function why_unreadable(args jsonb, data bytea, opts jsonb, errors jsonb, checkpoint jsonb, result jsonb)
  returns text
  language plpgsql stable;

function worker_leases(worker bigint)
  returns SETOF uuid
  language sql stable;

function worker_started_at(worker bigint)
  returns timestamp with time zone
  language plpgsql stable set plan_cache_mode=force_generic_plan set enable_seqscan=off;
