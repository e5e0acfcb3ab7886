-- Made by scripts/import-fixtures.sh: pg-boss, with jobs in every state.
CREATE SCHEMA pgboss;
CREATE TYPE pgboss.job_state AS ENUM (
    'created',
    'retry',
    'active',
    'completed',
    'cancelled',
    'failed'
);
CREATE FUNCTION pgboss.create_queue(queue_name text, options jsonb) RETURNS void
    LANGUAGE plpgsql
    AS $_$
    DECLARE
      tablename varchar := CASE WHEN options->>'partition' = 'true'
                            THEN 'j' || encode(sha224(queue_name::bytea), 'hex')
                            ELSE 'job_common'
                            END;
      queue_created_on timestamptz;
    BEGIN
      WITH q as (
        INSERT INTO pgboss.queue (
          name,
          policy,
          retry_limit,
          retry_delay,
          retry_backoff,
          retry_delay_max,
          expire_seconds,
          retention_seconds,
          deletion_seconds,
          warning_queued,
          dead_letter,
          partition,
          table_name,
          heartbeat_seconds,
          notify,
          created_on,
          updated_on
        )
        VALUES (
          queue_name,
          options->>'policy',
          COALESCE((options->>'retryLimit')::int, 2),
          COALESCE((options->>'retryDelay')::int, 0),
          COALESCE((options->>'retryBackoff')::bool, false),
          (options->>'retryDelayMax')::int,
          COALESCE((options->>'expireInSeconds')::int, 900),
          COALESCE((options->>'retentionSeconds')::int, 1209600),
          COALESCE((options->>'deleteAfterSeconds')::int, 604800),
          COALESCE((options->>'warningQueueSize')::int, 0),
          options->>'deadLetter',
          COALESCE((options->>'partition')::bool, false),
          tablename,
          (options->>'heartbeatSeconds')::int,
          COALESCE((options->>'notify')::bool, false),
          pgboss.job_now(),
          pgboss.job_now()
        )
        ON CONFLICT DO NOTHING
        RETURNING created_on
      )
      SELECT created_on into queue_created_on from q;
      IF queue_created_on IS NULL OR options->>'partition' IS DISTINCT FROM 'true' THEN
        RETURN;
      END IF;
      EXECUTE format('CREATE TABLE pgboss.%I (LIKE pgboss.job INCLUDING DEFAULTS)', tablename);
      EXECUTE pgboss.job_table_format($cmd$ALTER TABLE pgboss.job ADD PRIMARY KEY (name, id)$cmd$, tablename);
      EXECUTE pgboss.job_table_format($cmd$ALTER TABLE pgboss.job ADD CONSTRAINT q_fkey FOREIGN KEY (name) REFERENCES pgboss.queue (name) ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED$cmd$, tablename);
      EXECUTE pgboss.job_table_format($cmd$ALTER TABLE pgboss.job ADD CONSTRAINT dlq_fkey FOREIGN KEY (dead_letter) REFERENCES pgboss.queue (name) ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED$cmd$, tablename);
      EXECUTE pgboss.job_table_format($cmd$CREATE INDEX job_i11 ON pgboss.job (name, priority DESC, created_on, start_after) WHERE state < 'active' AND NOT blocked$cmd$, tablename);
      EXECUTE pgboss.job_table_format($cmd$CREATE UNIQUE INDEX job_i4 ON pgboss.job (name, singleton_on, COALESCE(singleton_key, '')) WHERE state <> 'cancelled' AND singleton_on IS NOT NULL$cmd$, tablename);
      EXECUTE pgboss.job_table_format($cmd$CREATE INDEX job_i7 ON pgboss.job (name, group_id) WHERE state = 'active' AND group_id IS NOT NULL$cmd$, tablename);
      EXECUTE pgboss.job_table_format($cmd$CREATE INDEX job_i9 ON pgboss.job (name, id) WHERE blocking AND state = 'completed'$cmd$, tablename);
      EXECUTE pgboss.job_table_format($cmd$CREATE INDEX job_i12 ON pgboss.job (source_root_id) WHERE source_root_id IS NOT NULL$cmd$, tablename);
      IF options->>'policy' = 'short' THEN
        EXECUTE pgboss.job_table_format($cmd$CREATE UNIQUE INDEX job_i1 ON pgboss.job (name, COALESCE(singleton_key, '')) WHERE state = 'created' AND policy = 'short'$cmd$, tablename);
      ELSIF options->>'policy' = 'singleton' THEN
        EXECUTE pgboss.job_table_format($cmd$CREATE UNIQUE INDEX job_i2 ON pgboss.job (name, COALESCE(singleton_key, '')) WHERE state = 'active' AND policy = 'singleton'$cmd$, tablename);
      ELSIF options->>'policy' = 'stately' THEN
        EXECUTE pgboss.job_table_format($cmd$CREATE UNIQUE INDEX job_i3 ON pgboss.job (name, state, COALESCE(singleton_key, '')) WHERE state <= 'active' AND policy = 'stately'$cmd$, tablename);
      ELSIF options->>'policy' = 'exclusive' THEN
        EXECUTE pgboss.job_table_format($cmd$CREATE UNIQUE INDEX job_i6 ON pgboss.job (name, COALESCE(singleton_key, '')) WHERE state <= 'active' AND policy = 'exclusive'$cmd$, tablename);
      ELSIF options->>'policy' = 'key_strict_fifo' THEN
        EXECUTE pgboss.job_table_format($cmd$CREATE UNIQUE INDEX job_i8 ON pgboss.job (name, singleton_key) WHERE state IN ('active', 'retry', 'failed') AND policy = 'key_strict_fifo'$cmd$, tablename);
        EXECUTE pgboss.job_table_format($cmd$CREATE INDEX job_i10 ON pgboss.job (name, singleton_key, state DESC, created_on, id) INCLUDE (start_after) WHERE state < 'active' AND NOT blocked AND policy = 'key_strict_fifo'$cmd$, tablename);
        EXECUTE pgboss.job_table_format($cmd$ALTER TABLE pgboss.job ADD CONSTRAINT job_key_strict_fifo_singleton_key_check CHECK (NOT (policy = 'key_strict_fifo' AND singleton_key IS NULL))$cmd$, tablename);
      END IF;
      EXECUTE format('ALTER TABLE pgboss.%I ADD CONSTRAINT cjc CHECK (name=%L)', tablename, queue_name);
      EXECUTE format('ALTER TABLE pgboss.job ATTACH PARTITION pgboss.%I FOR VALUES IN (%L)', tablename, queue_name);
    END;
    $_$;
CREATE FUNCTION pgboss.delete_queue(queue_name text) RETURNS void
    LANGUAGE plpgsql
    AS $$
    DECLARE
      v_table varchar;
      v_partition bool;
    BEGIN
      
      SELECT table_name, partition
      FROM pgboss.queue
      WHERE name = queue_name
      INTO v_table, v_partition;
      IF v_partition THEN
        EXECUTE format('DROP TABLE IF EXISTS pgboss.%I', v_table);
      ELSE
        EXECUTE format('DELETE FROM pgboss.%I WHERE name = %L', v_table, queue_name);
      END IF;
    
      DELETE FROM pgboss.queue WHERE name = queue_name;
    END;
    $$;
CREATE FUNCTION pgboss.job_now() RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    AS $$
      SELECT pg_catalog.now();
    $$;
CREATE FUNCTION pgboss.job_table_format(command text, table_name text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $_$
      SELECT format(
        regexp_replace(
          regexp_replace(command, '\.job\y', '.%1$I', 'g'),
          '\yjob_i(\d+)', '%1$s_i\1', 'g'
        ),
        table_name
      );
    $_$;
CREATE FUNCTION pgboss.job_table_run(command text, tbl_name text DEFAULT NULL::text, queue_name text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql
    AS $$
    DECLARE
      tbl RECORD;
    BEGIN
      IF queue_name IS NOT NULL THEN
        SELECT table_name INTO tbl_name FROM pgboss.queue WHERE name = queue_name;
      END IF;
      IF tbl_name IS NOT NULL THEN
        EXECUTE pgboss.job_table_format(command, tbl_name);
        RETURN;
      END IF;
      EXECUTE pgboss.job_table_format(command, 'job_common');
      FOR tbl IN SELECT table_name FROM pgboss.queue WHERE partition = true
      LOOP
        EXECUTE pgboss.job_table_format(command, tbl.table_name);
      END LOOP;
    END;
    $$;
CREATE FUNCTION pgboss.job_table_run_async(command_name text, version integer, command text, tbl_name text DEFAULT NULL::text, queue_name text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql
    AS $$
    BEGIN
      IF queue_name IS NOT NULL THEN
        SELECT table_name INTO tbl_name FROM pgboss.queue WHERE name = queue_name;
      END IF;
      IF tbl_name IS NOT NULL THEN
        INSERT INTO pgboss.bam (name, version, status, queue, table_name, command)
        VALUES (
          command_name,
          version,
          'pending',
          queue_name,
          tbl_name,
          pgboss.job_table_format(command, tbl_name)
        );
        RETURN;
      END IF;
      INSERT INTO pgboss.bam (name, version, status, queue, table_name, command)
      SELECT
        command_name,
        version,
        'pending',
        NULL,
        'job_common',
        pgboss.job_table_format(command, 'job_common')
      UNION ALL
      SELECT
        command_name,
        version,
        'pending',
        queue.name,
        queue.table_name,
        pgboss.job_table_format(command, queue.table_name)
      FROM pgboss.queue
      WHERE partition = true;
    END;
    $$;
CREATE TABLE pgboss.bam (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    queue text,
    table_name text NOT NULL,
    command text NOT NULL,
    error text,
    created_on timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    started_on timestamp with time zone,
    completed_on timestamp with time zone
);
CREATE TABLE pgboss.job (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    data jsonb,
    state pgboss.job_state DEFAULT 'created'::pgboss.job_state NOT NULL,
    retry_limit integer DEFAULT 2 NOT NULL,
    retry_count integer DEFAULT 0 NOT NULL,
    retry_delay integer DEFAULT 0 NOT NULL,
    retry_backoff boolean DEFAULT false NOT NULL,
    retry_delay_max integer,
    expire_seconds integer DEFAULT 900 NOT NULL,
    deletion_seconds integer DEFAULT 604800 NOT NULL,
    singleton_key text,
    singleton_on timestamp without time zone,
    group_id text,
    group_tier text,
    start_after timestamp with time zone DEFAULT now() NOT NULL,
    created_on timestamp with time zone DEFAULT now() NOT NULL,
    started_on timestamp with time zone,
    completed_on timestamp with time zone,
    keep_until timestamp with time zone DEFAULT (now() + '336:00:00'::interval) NOT NULL,
    output jsonb,
    dead_letter text,
    policy text,
    heartbeat_on timestamp with time zone,
    heartbeat_seconds integer,
    blocked boolean DEFAULT false NOT NULL,
    blocking boolean DEFAULT false NOT NULL,
    pending_dependencies integer DEFAULT 0 NOT NULL,
    source_name text,
    source_id uuid,
    source_created_on timestamp with time zone,
    source_retry_count integer,
    source_output jsonb,
    source_root_id uuid
)
PARTITION BY LIST (name);
CREATE TABLE pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2 (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    data jsonb,
    state pgboss.job_state DEFAULT 'created'::pgboss.job_state NOT NULL,
    retry_limit integer DEFAULT 2 NOT NULL,
    retry_count integer DEFAULT 0 NOT NULL,
    retry_delay integer DEFAULT 0 NOT NULL,
    retry_backoff boolean DEFAULT false NOT NULL,
    retry_delay_max integer,
    expire_seconds integer DEFAULT 900 NOT NULL,
    deletion_seconds integer DEFAULT 604800 NOT NULL,
    singleton_key text,
    singleton_on timestamp without time zone,
    group_id text,
    group_tier text,
    start_after timestamp with time zone DEFAULT now() NOT NULL,
    created_on timestamp with time zone DEFAULT now() NOT NULL,
    started_on timestamp with time zone,
    completed_on timestamp with time zone,
    keep_until timestamp with time zone DEFAULT (now() + '336:00:00'::interval) NOT NULL,
    output jsonb,
    dead_letter text,
    policy text,
    heartbeat_on timestamp with time zone,
    heartbeat_seconds integer,
    blocked boolean DEFAULT false NOT NULL,
    blocking boolean DEFAULT false NOT NULL,
    pending_dependencies integer DEFAULT 0 NOT NULL,
    source_name text,
    source_id uuid,
    source_created_on timestamp with time zone,
    source_retry_count integer,
    source_output jsonb,
    source_root_id uuid,
    CONSTRAINT cjc CHECK ((name = 'big'::text))
);
CREATE TABLE pgboss.job_common (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    data jsonb,
    state pgboss.job_state DEFAULT 'created'::pgboss.job_state NOT NULL,
    retry_limit integer DEFAULT 2 NOT NULL,
    retry_count integer DEFAULT 0 NOT NULL,
    retry_delay integer DEFAULT 0 NOT NULL,
    retry_backoff boolean DEFAULT false NOT NULL,
    retry_delay_max integer,
    expire_seconds integer DEFAULT 900 NOT NULL,
    deletion_seconds integer DEFAULT 604800 NOT NULL,
    singleton_key text,
    singleton_on timestamp without time zone,
    group_id text,
    group_tier text,
    start_after timestamp with time zone DEFAULT now() NOT NULL,
    created_on timestamp with time zone DEFAULT now() NOT NULL,
    started_on timestamp with time zone,
    completed_on timestamp with time zone,
    keep_until timestamp with time zone DEFAULT (now() + '336:00:00'::interval) NOT NULL,
    output jsonb,
    dead_letter text,
    policy text,
    heartbeat_on timestamp with time zone,
    heartbeat_seconds integer,
    blocked boolean DEFAULT false NOT NULL,
    blocking boolean DEFAULT false NOT NULL,
    pending_dependencies integer DEFAULT 0 NOT NULL,
    source_name text,
    source_id uuid,
    source_created_on timestamp with time zone,
    source_retry_count integer,
    source_output jsonb,
    source_root_id uuid,
    CONSTRAINT job_key_strict_fifo_singleton_key_check CHECK ((NOT ((policy = 'key_strict_fifo'::text) AND (singleton_key IS NULL))))
);
CREATE TABLE pgboss.job_dependency (
    child_name text NOT NULL,
    child_id uuid NOT NULL,
    parent_name text NOT NULL,
    parent_id uuid NOT NULL
);
CREATE TABLE pgboss.queue (
    name text NOT NULL,
    policy text NOT NULL,
    retry_limit integer NOT NULL,
    retry_delay integer NOT NULL,
    retry_backoff boolean NOT NULL,
    retry_delay_max integer,
    expire_seconds integer NOT NULL,
    retention_seconds integer NOT NULL,
    deletion_seconds integer NOT NULL,
    dead_letter text,
    partition boolean NOT NULL,
    table_name text NOT NULL,
    deferred_count integer DEFAULT 0 NOT NULL,
    queued_count integer DEFAULT 0 NOT NULL,
    ready_count integer DEFAULT 0 NOT NULL,
    warning_queued integer DEFAULT 0 NOT NULL,
    active_count integer DEFAULT 0 NOT NULL,
    failed_count integer DEFAULT 0 NOT NULL,
    total_count integer DEFAULT 0 NOT NULL,
    created_delta integer DEFAULT 0 NOT NULL,
    completed_delta integer DEFAULT 0 NOT NULL,
    failed_delta integer DEFAULT 0 NOT NULL,
    delta_on timestamp with time zone,
    delta_seconds integer,
    ready_history integer[] DEFAULT '{}'::integer[] NOT NULL,
    heartbeat_seconds integer,
    notify boolean DEFAULT false NOT NULL,
    singletons_active text[],
    monitor_claim_on timestamp with time zone,
    monitor_on timestamp with time zone,
    maintain_on timestamp with time zone,
    created_on timestamp with time zone DEFAULT now() NOT NULL,
    updated_on timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT queue_check CHECK ((dead_letter IS DISTINCT FROM name))
);
CREATE TABLE pgboss.queue_stats (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    deferred_count integer DEFAULT 0 NOT NULL,
    queued_count integer DEFAULT 0 NOT NULL,
    ready_count integer DEFAULT 0 NOT NULL,
    active_count integer DEFAULT 0 NOT NULL,
    failed_count integer DEFAULT 0 NOT NULL,
    total_count integer DEFAULT 0 NOT NULL,
    created_delta integer,
    completed_delta integer,
    failed_delta integer,
    delta_seconds integer,
    delta_on timestamp with time zone,
    captured_on timestamp with time zone DEFAULT now() NOT NULL
)
PARTITION BY RANGE (captured_on);
CREATE TABLE pgboss.queue_stats_20261121 (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    deferred_count integer DEFAULT 0 NOT NULL,
    queued_count integer DEFAULT 0 NOT NULL,
    ready_count integer DEFAULT 0 NOT NULL,
    active_count integer DEFAULT 0 NOT NULL,
    failed_count integer DEFAULT 0 NOT NULL,
    total_count integer DEFAULT 0 NOT NULL,
    created_delta integer,
    completed_delta integer,
    failed_delta integer,
    delta_seconds integer,
    delta_on timestamp with time zone,
    captured_on timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE pgboss.queue_stats_20261122 (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    deferred_count integer DEFAULT 0 NOT NULL,
    queued_count integer DEFAULT 0 NOT NULL,
    ready_count integer DEFAULT 0 NOT NULL,
    active_count integer DEFAULT 0 NOT NULL,
    failed_count integer DEFAULT 0 NOT NULL,
    total_count integer DEFAULT 0 NOT NULL,
    created_delta integer,
    completed_delta integer,
    failed_delta integer,
    delta_seconds integer,
    delta_on timestamp with time zone,
    captured_on timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE pgboss.schedule (
    name text NOT NULL,
    key text DEFAULT ''::text NOT NULL,
    kind text DEFAULT 'cron'::text NOT NULL,
    cron text NOT NULL,
    timezone text DEFAULT 'UTC'::text,
    data jsonb,
    options jsonb,
    created_on timestamp with time zone DEFAULT now() NOT NULL,
    updated_on timestamp with time zone DEFAULT now() NOT NULL,
    last_job_id uuid,
    CONSTRAINT schedule_kind_check CHECK ((kind = ANY (ARRAY['cron'::text, 'rrule'::text])))
);
CREATE TABLE pgboss.subscription (
    event text NOT NULL,
    name text NOT NULL,
    created_on timestamp with time zone DEFAULT now() NOT NULL,
    updated_on timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE pgboss.version (
    version integer NOT NULL,
    cron_on timestamp with time zone,
    bam_on timestamp with time zone,
    flow_on timestamp with time zone,
    reindex_on timestamp with time zone,
    monitor_backoff_on timestamp with time zone
);
CREATE TABLE pgboss.warning (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    type text NOT NULL,
    message text NOT NULL,
    data jsonb,
    created_on timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE ONLY pgboss.job ATTACH PARTITION pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2 FOR VALUES IN ('big');
ALTER TABLE ONLY pgboss.job ATTACH PARTITION pgboss.job_common DEFAULT;
ALTER TABLE ONLY pgboss.queue_stats ATTACH PARTITION pgboss.queue_stats_20261121 FOR VALUES FROM ('2026-11-21 00:00:00+00') TO ('2026-11-22 00:00:00+00');
ALTER TABLE ONLY pgboss.queue_stats ATTACH PARTITION pgboss.queue_stats_20261122 FOR VALUES FROM ('2026-11-22 00:00:00+00') TO ('2026-11-23 00:00:00+00');
INSERT INTO pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2 VALUES ('d7846adf-7157-4ee5-a002-79e85602d90d', 'big', 0, '{"n": 1}', 'created', 2, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.688157+00', '2026-11-21 11:47:53.688157+00', NULL, NULL, '2093-06-08 01:07:53.688157+00', NULL, NULL, 'standard', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2 VALUES ('1a87bda3-f104-41ac-8485-c8f287b9498d', 'big', 0, '{"n": 2}', 'created', 2, 0, 0, false, NULL, 900, 604800, NULL, NULL, 'tenant-1', 'gold', '2026-11-21 11:47:53.698578+00', '2026-11-21 11:47:53.698578+00', NULL, NULL, '2093-06-08 01:07:53.698578+00', NULL, NULL, 'standard', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2 VALUES ('153ec094-900e-4374-b447-514179f62f73', 'big', 0, '{"n": "parent"}', 'created', 2, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:54.042172+00', '2026-11-21 11:47:54.042172+00', NULL, NULL, '2093-06-08 01:07:54.042172+00', NULL, NULL, 'standard', NULL, NULL, false, true, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2 VALUES ('57fcaf3b-cd63-418d-a227-1cc7705c1929', 'big', 0, '{"n": "child"}', 'created', 2, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:54.042172+00', '2026-11-21 11:47:54.042172+00', NULL, NULL, '2093-06-08 01:07:54.042172+00', NULL, NULL, 'standard', NULL, NULL, true, false, 1, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('a51d40ae-399c-4bed-8778-8cd0e633e2ac', 'email', 0, '{"to": "ann@example.com"}', 'created', 2, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.663579+00', '2026-11-21 11:47:53.663579+00', NULL, NULL, '2093-06-08 01:07:53.663579+00', NULL, 'rest', 'standard', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('ea04f0e5-f745-4117-814b-628596f9e99e', 'email', 5, '{"to": "bob@example.com", "deep": [0.00000015, null, true, []], "text": "Grüße, 世界 😀 </script> \"\\\n"}', 'created', 7, 0, 30, true, 600, 60, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.670438+00', '2026-11-21 11:47:53.670438+00', NULL, NULL, '2093-06-08 01:07:53.670438+00', NULL, 'rest', 'standard', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('0ee8f8f4-4389-42dc-af7a-3498963b0ced', 'email', -100000, NULL, 'created', 2, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.682827+00', '2026-11-21 11:47:53.682827+00', NULL, NULL, '2093-06-08 01:07:53.682827+00', NULL, 'rest', 'standard', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('9c994420-e025-4b9c-a119-92929b500649', 'email', 0, '{"to": "later@example.com"}', 'created', 2, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2100-01-02 03:04:05.678+00', '2026-11-21 11:47:53.708398+00', NULL, NULL, '2166-07-20 16:24:05.678+00', NULL, 'rest', 'standard', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('40ee2c03-ccba-478e-b693-9f926790b3d6', 'email', 0, '{"to": "key@example.com"}', 'created', 2, 0, 0, false, NULL, 900, 604800, 'no policy', NULL, NULL, NULL, '2026-11-21 11:47:53.722674+00', '2026-11-21 11:47:53.722674+00', NULL, NULL, '2093-06-08 01:07:53.722674+00', NULL, 'rest', 'standard', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('d2893a35-d21f-4119-9a4f-ecf2f5965c7b', 'email', 0, '{"to": "slot@example.com"}', 'created', 2, 0, 0, false, NULL, 900, 604800, 'slot', '2026-11-21 11:00:00', NULL, NULL, '2026-11-21 11:47:53.7287+00', '2026-11-21 11:47:53.7287+00', NULL, NULL, '2093-06-08 01:07:53.7287+00', NULL, 'rest', 'standard', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('8c20e3da-709b-4c16-9c09-0ad7178a0080', 'email', 0, '{"to": "beats@example.com"}', 'created', 2, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.737735+00', '2026-11-21 11:47:53.737735+00', NULL, NULL, '2093-06-08 01:07:53.737735+00', NULL, 'rest', 'standard', NULL, 30, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('8466b5d9-25f0-49cf-a4e8-b9b24f0ca63b', 'work', 0, '{"what": "fail"}', 'retry', 4, 0, 2000000000, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2090-04-07 15:21:13.763227+00', '2026-11-21 11:47:53.750558+00', '2026-11-21 11:47:53.754752+00', NULL, '2093-06-08 01:07:53.750558+00', '{"code": "E_BOOM", "name": "Error", "stack": "Error: attempt 1 went wrong: «naïve» \"quoted\"\n    at boom (file:///app/pg-boss.js:31:38)\n    at file:///app/pg-boss.js:47:53\n    at process.processTicksAndRejections (node:internal/process/task_queues:104:5)", "message": "attempt 1 went wrong: «naïve» \"quoted\""}', NULL, 'standard', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('6cf3047b-725a-44bd-8f68-1407a654f3f3', 'work', 0, '{"what": "complete"}', 'completed', 4, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.841653+00', '2026-11-21 11:47:53.841653+00', '2026-11-21 11:47:53.849676+00', '2026-11-21 11:47:53.85627+00', '2093-06-08 01:07:53.841653+00', '{"done": true}', NULL, 'standard', '2026-11-21 11:47:53.849676+00', NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('0e46fcf4-9677-4d12-a929-3f4e7fdf5184', 'work', 0, '{"what": "die"}', 'failed', 0, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.861555+00', '2026-11-21 11:47:53.861555+00', '2026-11-21 11:47:53.868316+00', '2026-11-21 11:47:53.87273+00', '2093-06-08 01:07:53.861555+00', '{"code": "E_BOOM", "name": "Error", "stack": "Error: dead\n    at boom (file:///app/pg-boss.js:31:38)\n    at file:///app/pg-boss.js:56:53\n    at process.processTicksAndRejections (node:internal/process/task_queues:104:5)", "message": "dead"}', NULL, 'standard', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('ab4d4140-f675-4d9b-8735-df8c2c7812f9', 'email', 9999, '{"to": "dead@example.com"}', 'failed', 0, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.884419+00', '2026-11-21 11:47:53.884419+00', '2026-11-21 11:47:53.887458+00', '2026-11-21 11:47:53.901452+00', '2093-06-08 01:07:53.884419+00', '{"code": "E_BOOM", "name": "Error", "stack": "Error: dead letter\n    at boom (file:///app/pg-boss.js:31:38)\n    at file:///app/pg-boss.js:58:55\n    at process.processTicksAndRejections (node:internal/process/task_queues:104:5)", "message": "dead letter"}', 'rest', 'standard', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('95724d8a-ad66-417f-8395-0c88849bca09', 'rest', 9999, '{"to": "dead@example.com"}', 'created', 2, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.901452+00', '2026-11-21 11:47:53.901452+00', NULL, NULL, '2093-06-08 01:07:53.901452+00', NULL, NULL, NULL, NULL, NULL, false, false, 0, 'email', 'ab4d4140-f675-4d9b-8735-df8c2c7812f9', '2026-11-21 11:47:53.884419+00', 0, '{"code": "E_BOOM", "name": "Error", "stack": "Error: dead letter\n    at boom (file:///app/pg-boss.js:31:38)\n    at file:///app/pg-boss.js:58:55\n    at process.processTicksAndRejections (node:internal/process/task_queues:104:5)", "message": "dead letter"}', 'ab4d4140-f675-4d9b-8735-df8c2c7812f9');
INSERT INTO pgboss.job_common VALUES ('10f226da-f0f9-48be-bd68-d806b7ba3bc9', 'work', 0, '{"what": "cancel"}', 'cancelled', 4, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2100-01-02 03:04:05.678+00', '2026-11-21 11:47:53.916393+00', NULL, '2026-11-21 11:47:53.925931+00', '2166-07-20 16:24:05.678+00', NULL, NULL, 'standard', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('15938a51-ef2b-46ef-b605-3867532d0554', 'work', 0, '{"what": "fail twice"}', 'created', 4, 2, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.810806+00', '2026-11-21 11:47:53.775224+00', '2026-11-21 11:47:53.822506+00', NULL, '2093-06-08 01:07:53.775224+00', '{"more": [1], "message": "attempt 2"}', NULL, 'standard', '2026-11-21 11:47:53.822506+00', NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('1c0fa6a6-8d55-4448-86cc-dc0a90cabb40', 'work', 100, '{"what": "hang"}', 'active', 4, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.936351+00', '2026-11-21 11:47:53.936351+00', '2026-11-21 11:47:53.93871+00', NULL, '2093-06-08 01:07:53.936351+00', NULL, NULL, 'standard', '2026-11-21 11:47:53.93871+00', NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('2fb40f2c-734f-4fc3-b1d4-67733d929c97', 'short', 0, '{"n": 1}', 'created', 2, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.945036+00', '2026-11-21 11:47:53.945036+00', NULL, NULL, '2093-06-08 01:07:53.945036+00', NULL, NULL, 'short', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('82772fd9-495d-46a0-96dd-150ed9fcf4df', 'short', 0, '{"n": 2}', 'created', 2, 0, 0, false, NULL, 900, 604800, 'a', NULL, NULL, NULL, '2026-11-21 11:47:53.956648+00', '2026-11-21 11:47:53.956648+00', NULL, NULL, '2093-06-08 01:07:53.956648+00', NULL, NULL, 'short', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('ec5f4d0d-2108-43c2-bac9-0f170a0679de', 'singleton', 0, '{"n": 1}', 'created', 2, 0, 0, false, NULL, 900, 604800, 'a', NULL, NULL, NULL, '2026-11-21 11:47:53.964039+00', '2026-11-21 11:47:53.964039+00', NULL, NULL, '2093-06-08 01:07:53.964039+00', NULL, NULL, 'singleton', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('bc8ebf41-e91d-4025-9bca-b0a21c208b97', 'singleton', 0, '{"n": 2}', 'created', 2, 0, 0, false, NULL, 900, 604800, 'a', NULL, NULL, NULL, '2026-11-21 11:47:53.976942+00', '2026-11-21 11:47:53.976942+00', NULL, NULL, '2093-06-08 01:07:53.976942+00', NULL, NULL, 'singleton', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('0d7d84f3-1fbe-4eff-85ac-8d407f0bfcf1', 'stately', 0, '{"n": 1}', 'retry', 2, 0, 2000000000, false, NULL, 900, 604800, 'a', NULL, NULL, NULL, '2090-04-07 15:21:14.001623+00', '2026-11-21 11:47:53.986832+00', '2026-11-21 11:47:53.993327+00', NULL, '2093-06-08 01:07:53.986832+00', '{"code": "E_BOOM", "name": "Error", "stack": "Error: stately\n    at boom (file:///app/pg-boss.js:31:38)\n    at file:///app/pg-boss.js:70:59\n    at process.processTicksAndRejections (node:internal/process/task_queues:104:5)", "message": "stately"}', NULL, 'stately', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('b8231882-6611-4699-b10f-c6aa44c1b915', 'stately', 0, '{"n": 2}', 'created', 2, 0, 0, false, NULL, 900, 604800, 'a', NULL, NULL, NULL, '2026-11-21 11:47:54.00756+00', '2026-11-21 11:47:54.00756+00', NULL, NULL, '2093-06-08 01:07:54.00756+00', NULL, NULL, 'stately', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('3bf70a94-df96-4767-95d6-ae40ff5c51df', 'exclusive', 0, '{"n": 1}', 'created', 2, 0, 0, false, NULL, 900, 604800, NULL, NULL, NULL, NULL, '2026-11-21 11:47:54.009804+00', '2026-11-21 11:47:54.009804+00', NULL, NULL, '2093-06-08 01:07:54.009804+00', NULL, NULL, 'exclusive', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('0cecfc28-8b8c-4d31-ae80-01f814e76b0d', 'exclusive', 0, '{"n": 2}', 'created', 2, 0, 0, false, NULL, 900, 604800, 'a', NULL, NULL, NULL, '2100-01-02 03:04:05.678+00', '2026-11-21 11:47:54.014907+00', NULL, NULL, '2166-07-20 16:24:05.678+00', NULL, NULL, 'exclusive', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('dae40fe6-619d-45d6-9642-af41563416d7', 'key_strict_fifo', 0, '{"n": 1}', 'created', 2, 0, 0, false, NULL, 900, 604800, 'a', NULL, NULL, NULL, '2026-11-21 11:47:54.025122+00', '2026-11-21 11:47:54.025122+00', NULL, NULL, '2093-06-08 01:07:54.025122+00', NULL, NULL, 'key_strict_fifo', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('1933bf41-95fd-4b7b-ad8b-e8b05b79b961', 'key_strict_fifo', 0, '{"n": 2}', 'created', 2, 0, 0, false, NULL, 900, 604800, 'a', NULL, NULL, NULL, '2026-11-21 11:47:54.030748+00', '2026-11-21 11:47:54.030748+00', NULL, NULL, '2093-06-08 01:07:54.030748+00', NULL, NULL, 'key_strict_fifo', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_common VALUES ('10c9b813-1e2c-4f3c-93be-7e5829d1f78d', 'key_strict_fifo', 0, '{"n": 3}', 'created', 2, 0, 0, false, NULL, 900, 604800, 'b', NULL, NULL, NULL, '2026-11-21 11:47:54.038619+00', '2026-11-21 11:47:54.038619+00', NULL, NULL, '2093-06-08 01:07:54.038619+00', NULL, NULL, 'key_strict_fifo', NULL, NULL, false, false, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pgboss.job_dependency VALUES ('big', '57fcaf3b-cd63-418d-a227-1cc7705c1929', 'big', '153ec094-900e-4374-b447-514179f62f73');
INSERT INTO pgboss.queue VALUES ('rest', 'standard', 2, 0, false, NULL, 900, 2100000000, 604800, NULL, false, 'job_common', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, '{}', NULL, false, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.584582+00', '2026-11-21 11:47:53.584582+00');
INSERT INTO pgboss.queue VALUES ('email', 'standard', 2, 0, false, NULL, 900, 2100000000, 604800, 'rest', false, 'job_common', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, '{}', NULL, false, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.58932+00', '2026-11-21 11:47:53.58932+00');
INSERT INTO pgboss.queue VALUES ('work', 'standard', 4, 0, false, NULL, 900, 2100000000, 604800, NULL, false, 'job_common', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, '{}', NULL, false, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.591286+00', '2026-11-21 11:47:53.591286+00');
INSERT INTO pgboss.queue VALUES ('big', 'standard', 2, 0, false, NULL, 900, 2100000000, 604800, NULL, true, 'jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, '{}', NULL, false, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.594333+00', '2026-11-21 11:47:53.594333+00');
INSERT INTO pgboss.queue VALUES ('short', 'short', 2, 0, false, NULL, 900, 2100000000, 604800, NULL, false, 'job_common', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, '{}', NULL, false, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.63871+00', '2026-11-21 11:47:53.63871+00');
INSERT INTO pgboss.queue VALUES ('singleton', 'singleton', 2, 0, false, NULL, 900, 2100000000, 604800, NULL, false, 'job_common', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, '{}', NULL, false, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.644785+00', '2026-11-21 11:47:53.644785+00');
INSERT INTO pgboss.queue VALUES ('stately', 'stately', 2, 0, false, NULL, 900, 2100000000, 604800, NULL, false, 'job_common', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, '{}', NULL, false, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.647234+00', '2026-11-21 11:47:53.647234+00');
INSERT INTO pgboss.queue VALUES ('exclusive', 'exclusive', 2, 0, false, NULL, 900, 2100000000, 604800, NULL, false, 'job_common', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, '{}', NULL, false, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.654317+00', '2026-11-21 11:47:53.654317+00');
INSERT INTO pgboss.queue VALUES ('key_strict_fifo', 'key_strict_fifo', 2, 0, false, NULL, 900, 2100000000, 604800, NULL, false, 'job_common', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, '{}', NULL, false, NULL, NULL, NULL, NULL, '2026-11-21 11:47:53.657826+00', '2026-11-21 11:47:53.657826+00');
INSERT INTO pgboss.schedule VALUES ('email', 'digest', 'cron', '30 8 * * 1-5', 'Europe/Berlin', '{"to": "digest@example.com"}', '{"tz": "Europe/Berlin", "key": "digest", "priority": 3, "retryLimit": 4}', '2026-11-21 11:47:54.198914+00', '2026-11-21 11:47:54.198914+00', NULL);
INSERT INTO pgboss.schedule VALUES ('work', '', 'cron', '*/5 * * * *', 'UTC', NULL, '{}', '2026-11-21 11:47:54.208862+00', '2026-11-21 11:47:54.208862+00', NULL);
INSERT INTO pgboss.schedule VALUES ('big', 'rule', 'rrule', 'FREQ=DAILY;BYHOUR=6', 'UTC', '{"n": "rule"}', '{"key": "rule", "kind": "rrule"}', '2026-11-21 11:47:54.250257+00', '2026-11-21 11:47:54.250257+00', NULL);
INSERT INTO pgboss.version VALUES (43, NULL, '2026-11-21 11:47:53.589695+00', NULL, NULL, NULL);
ALTER TABLE ONLY pgboss.bam
    ADD CONSTRAINT bam_pkey PRIMARY KEY (id);
ALTER TABLE ONLY pgboss.job
    ADD CONSTRAINT job_pkey PRIMARY KEY (name, id);
ALTER TABLE ONLY pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2
    ADD CONSTRAINT jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2_pkey PRIMARY KEY (name, id);
ALTER TABLE ONLY pgboss.job_common
    ADD CONSTRAINT job_common_pkey PRIMARY KEY (name, id);
ALTER TABLE ONLY pgboss.job_dependency
    ADD CONSTRAINT job_dependency_pkey PRIMARY KEY (child_name, child_id, parent_name, parent_id);
ALTER TABLE ONLY pgboss.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (name);
ALTER TABLE ONLY pgboss.queue_stats
    ADD CONSTRAINT queue_stats_pkey PRIMARY KEY (id, captured_on);
ALTER TABLE ONLY pgboss.queue_stats_20261121
    ADD CONSTRAINT queue_stats_20261121_pkey PRIMARY KEY (id, captured_on);
ALTER TABLE ONLY pgboss.queue_stats_20261122
    ADD CONSTRAINT queue_stats_20261122_pkey PRIMARY KEY (id, captured_on);
ALTER TABLE ONLY pgboss.schedule
    ADD CONSTRAINT schedule_pkey PRIMARY KEY (name, key);
ALTER TABLE ONLY pgboss.subscription
    ADD CONSTRAINT subscription_pkey PRIMARY KEY (event, name);
ALTER TABLE ONLY pgboss.version
    ADD CONSTRAINT version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY pgboss.warning
    ADD CONSTRAINT warning_pkey PRIMARY KEY (id);
CREATE INDEX jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2_i11 ON pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2 USING btree (name, priority DESC, created_on, start_after) WHERE ((state < 'active'::pgboss.job_state) AND (NOT blocked));
CREATE INDEX jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2_i12 ON pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2 USING btree (source_root_id) WHERE (source_root_id IS NOT NULL);
CREATE UNIQUE INDEX jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2_i4 ON pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2 USING btree (name, singleton_on, COALESCE(singleton_key, ''::text)) WHERE ((state <> 'cancelled'::pgboss.job_state) AND (singleton_on IS NOT NULL));
CREATE INDEX jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2_i7 ON pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2 USING btree (name, group_id) WHERE ((state = 'active'::pgboss.job_state) AND (group_id IS NOT NULL));
CREATE INDEX jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2_i9 ON pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2 USING btree (name, id) WHERE (blocking AND (state = 'completed'::pgboss.job_state));
CREATE UNIQUE INDEX job_common_i1 ON pgboss.job_common USING btree (name, COALESCE(singleton_key, ''::text)) WHERE ((state = 'created'::pgboss.job_state) AND (policy = 'short'::text));
CREATE INDEX job_common_i10 ON pgboss.job_common USING btree (name, singleton_key, state DESC, created_on, id) INCLUDE (start_after) WHERE ((state < 'active'::pgboss.job_state) AND (NOT blocked) AND (policy = 'key_strict_fifo'::text));
CREATE INDEX job_common_i11 ON pgboss.job_common USING btree (name, priority DESC, created_on, start_after) WHERE ((state < 'active'::pgboss.job_state) AND (NOT blocked));
CREATE INDEX job_common_i12 ON pgboss.job_common USING btree (source_root_id) WHERE (source_root_id IS NOT NULL);
CREATE UNIQUE INDEX job_common_i2 ON pgboss.job_common USING btree (name, COALESCE(singleton_key, ''::text)) WHERE ((state = 'active'::pgboss.job_state) AND (policy = 'singleton'::text));
CREATE UNIQUE INDEX job_common_i3 ON pgboss.job_common USING btree (name, state, COALESCE(singleton_key, ''::text)) WHERE ((state <= 'active'::pgboss.job_state) AND (policy = 'stately'::text));
CREATE UNIQUE INDEX job_common_i4 ON pgboss.job_common USING btree (name, singleton_on, COALESCE(singleton_key, ''::text)) WHERE ((state <> 'cancelled'::pgboss.job_state) AND (singleton_on IS NOT NULL));
CREATE UNIQUE INDEX job_common_i6 ON pgboss.job_common USING btree (name, COALESCE(singleton_key, ''::text)) WHERE ((state <= 'active'::pgboss.job_state) AND (policy = 'exclusive'::text));
CREATE INDEX job_common_i7 ON pgboss.job_common USING btree (name, group_id) WHERE ((state = 'active'::pgboss.job_state) AND (group_id IS NOT NULL));
CREATE UNIQUE INDEX job_common_i8 ON pgboss.job_common USING btree (name, singleton_key) WHERE ((state = ANY (ARRAY['active'::pgboss.job_state, 'retry'::pgboss.job_state, 'failed'::pgboss.job_state])) AND (policy = 'key_strict_fifo'::text));
CREATE INDEX job_common_i9 ON pgboss.job_common USING btree (name, id) WHERE (blocking AND (state = 'completed'::pgboss.job_state));
CREATE INDEX job_dep_parent_idx ON pgboss.job_dependency USING btree (parent_name, parent_id);
CREATE INDEX queue_stats_i1 ON ONLY pgboss.queue_stats USING btree (name, captured_on DESC) INCLUDE (deferred_count, queued_count, ready_count, active_count, failed_count, total_count);
CREATE INDEX queue_stats_20261121_name_captured_on_deferred_count_queued_idx ON pgboss.queue_stats_20261121 USING btree (name, captured_on DESC) INCLUDE (deferred_count, queued_count, ready_count, active_count, failed_count, total_count);
CREATE INDEX queue_stats_20261122_name_captured_on_deferred_count_queued_idx ON pgboss.queue_stats_20261122 USING btree (name, captured_on DESC) INCLUDE (deferred_count, queued_count, ready_count, active_count, failed_count, total_count);
CREATE INDEX warning_i1 ON pgboss.warning USING btree (created_on DESC);
ALTER INDEX pgboss.job_pkey ATTACH PARTITION pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2_pkey;
ALTER INDEX pgboss.job_pkey ATTACH PARTITION pgboss.job_common_pkey;
ALTER INDEX pgboss.queue_stats_i1 ATTACH PARTITION pgboss.queue_stats_20261121_name_captured_on_deferred_count_queued_idx;
ALTER INDEX pgboss.queue_stats_pkey ATTACH PARTITION pgboss.queue_stats_20261121_pkey;
ALTER INDEX pgboss.queue_stats_i1 ATTACH PARTITION pgboss.queue_stats_20261122_name_captured_on_deferred_count_queued_idx;
ALTER INDEX pgboss.queue_stats_pkey ATTACH PARTITION pgboss.queue_stats_20261122_pkey;
ALTER TABLE ONLY pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2
    ADD CONSTRAINT dlq_fkey FOREIGN KEY (dead_letter) REFERENCES pgboss.queue(name) ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY pgboss.job_common
    ADD CONSTRAINT dlq_fkey FOREIGN KEY (dead_letter) REFERENCES pgboss.queue(name) ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY pgboss.jd5e59af5d02bec2d77b46f3b37ea1075a70e44da12a908ce0e0ffaf2
    ADD CONSTRAINT q_fkey FOREIGN KEY (name) REFERENCES pgboss.queue(name) ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY pgboss.job_common
    ADD CONSTRAINT q_fkey FOREIGN KEY (name) REFERENCES pgboss.queue(name) ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY pgboss.queue
    ADD CONSTRAINT queue_dead_letter_fkey FOREIGN KEY (dead_letter) REFERENCES pgboss.queue(name);
ALTER TABLE ONLY pgboss.schedule
    ADD CONSTRAINT schedule_name_fkey FOREIGN KEY (name) REFERENCES pgboss.queue(name) ON DELETE CASCADE;
ALTER TABLE ONLY pgboss.subscription
    ADD CONSTRAINT subscription_name_fkey FOREIGN KEY (name) REFERENCES pgboss.queue(name) ON DELETE CASCADE;
