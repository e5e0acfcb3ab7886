-- Made by scripts/import-fixtures.sh: river, with jobs in every state.
CREATE TYPE public.river_job_state AS ENUM (
    'available',
    'cancelled',
    'completed',
    'discarded',
    'pending',
    'retryable',
    'running',
    'scheduled'
);
CREATE FUNCTION public.river_job_state_in_bitmask(bitmask bit, state public.river_job_state) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE state
        WHEN 'available' THEN get_bit(bitmask, 7)
        WHEN 'cancelled' THEN get_bit(bitmask, 6)
        WHEN 'completed' THEN get_bit(bitmask, 5)
        WHEN 'discarded' THEN get_bit(bitmask, 4)
        WHEN 'pending'   THEN get_bit(bitmask, 3)
        WHEN 'retryable' THEN get_bit(bitmask, 2)
        WHEN 'running'   THEN get_bit(bitmask, 1)
        WHEN 'scheduled' THEN get_bit(bitmask, 0)
        ELSE 0
    END = 1;
$$;
CREATE TABLE public.river_job (
    id bigint NOT NULL,
    state public.river_job_state DEFAULT 'available'::public.river_job_state NOT NULL,
    attempt smallint DEFAULT 0 NOT NULL,
    max_attempts smallint DEFAULT 25 NOT NULL,
    attempted_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finalized_at timestamp with time zone,
    scheduled_at timestamp with time zone DEFAULT now() NOT NULL,
    priority smallint DEFAULT 1 NOT NULL,
    args jsonb NOT NULL,
    attempted_by text[],
    errors jsonb[],
    kind text NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    queue text DEFAULT 'default'::text NOT NULL,
    tags character varying(255)[] DEFAULT '{}'::character varying[] NOT NULL,
    unique_key bytea,
    unique_states bit(8),
    CONSTRAINT finalized_or_finalized_at_null CHECK ((((finalized_at IS NULL) AND (state <> ALL (ARRAY['cancelled'::public.river_job_state, 'completed'::public.river_job_state, 'discarded'::public.river_job_state]))) OR ((finalized_at IS NOT NULL) AND (state = ANY (ARRAY['cancelled'::public.river_job_state, 'completed'::public.river_job_state, 'discarded'::public.river_job_state]))))),
    CONSTRAINT kind_length CHECK (((char_length(kind) > 0) AND (char_length(kind) < 128))),
    CONSTRAINT max_attempts_is_positive CHECK ((max_attempts > 0)),
    CONSTRAINT priority_in_range CHECK (((priority >= 1) AND (priority <= 4))),
    CONSTRAINT queue_length CHECK (((char_length(queue) > 0) AND (char_length(queue) < 128)))
);
CREATE SEQUENCE public.river_job_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.river_job_id_seq OWNED BY public.river_job.id;
CREATE UNLOGGED TABLE public.river_leader (
    elected_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    leader_id text NOT NULL,
    name text DEFAULT 'default'::text NOT NULL,
    CONSTRAINT leader_id_length CHECK (((char_length(leader_id) > 0) AND (char_length(leader_id) < 128))),
    CONSTRAINT name_length CHECK ((name = 'default'::text))
);
CREATE TABLE public.river_migration (
    line text NOT NULL,
    version bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT line_length CHECK (((char_length(line) > 0) AND (char_length(line) < 128))),
    CONSTRAINT version_gte_1 CHECK ((version >= 1))
);
CREATE TABLE public.river_notification (
    id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    payload text NOT NULL,
    topic text NOT NULL,
    CONSTRAINT topic_length CHECK (((length(topic) > 0) AND (length(topic) < 128)))
);
CREATE SEQUENCE public.river_notification_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.river_notification_id_seq OWNED BY public.river_notification.id;
CREATE TABLE public.river_queue (
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    paused_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);
ALTER TABLE ONLY public.river_job ALTER COLUMN id SET DEFAULT nextval('public.river_job_id_seq'::regclass);
ALTER TABLE ONLY public.river_notification ALTER COLUMN id SET DEFAULT nextval('public.river_notification_id_seq'::regclass);
INSERT INTO public.river_job VALUES (1, 'available', 0, 25, NULL, '2026-11-21 11:47:50.301974+00', NULL, '2026-11-21 11:47:50.301974+00', 1, '{"to": "ann@example.com"}', NULL, NULL, 'email', '{}', 'default', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (2, 'available', 0, 3, NULL, '2026-11-21 11:47:50.313793+00', NULL, '2026-11-21 11:47:50.313793+00', 4, '{"to": "bob@example.com", "big": 18446744073709551615, "body": {"deep": [0.00000015, null, true, []], "text": "Grüße, 世界 😀 </script> \"\\\n"}}', NULL, NULL, 'email', '{"n": 1, "trace": "4bf92f35"}', 'mail', '{bulk,two-words}', NULL, NULL);
INSERT INTO public.river_job VALUES (3, 'available', 0, 25, NULL, '2026-11-21 11:47:50.319816+00', NULL, '2026-11-21 11:47:50.319816+00', 2, '{"to": "cleo@example.com"}', NULL, NULL, 'email', '{}', 'mail', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (4, 'scheduled', 0, 7, NULL, '2026-11-21 11:47:50.322148+00', NULL, '2100-01-02 03:04:05.678901+00', 1, '{"to": "later@example.com"}', NULL, NULL, 'email', '{}', 'default', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (5, 'pending', 0, 25, NULL, '2026-11-21 11:47:50.32427+00', NULL, '2026-11-21 11:47:50.32427+00', 1, '{"to": "pending@example.com"}', NULL, NULL, 'email', '{}', 'default', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (6, 'available', 0, 25, NULL, '2026-11-21 11:47:50.329279+00', NULL, '2026-11-21 11:47:50.329279+00', 1, '{"n": 1}', NULL, NULL, 'report', '{}', 'default', '{}', '\xec3edefb94c5ca5411786220abb0319b058665a8df4c0d4d949bc603195eb248', B'11110101');
INSERT INTO public.river_job VALUES (7, 'scheduled', 0, 25, NULL, '2026-11-21 11:47:50.33477+00', NULL, '2100-01-02 03:04:05.678901+00', 1, '{"n": 2}', NULL, NULL, 'report', '{}', 'default', '{}', '\x9d285664574515cc2380976d0f39f33fde0b36255b7f1f90bf331c95c34bb1c3', B'11110101');
INSERT INTO public.river_job VALUES (8, 'available', 0, 25, NULL, '2026-11-21 11:47:50.336193+00', NULL, '2026-11-21 11:47:50.336193+00', 1, '{"n": 3}', NULL, NULL, 'report', '{}', 'default', '{}', '\xfd7d534eaab686aff08c01d843c8559d401aaab7e34347a3a9e62bae91512a4f', B'11110101');
INSERT INTO public.river_job VALUES (9, 'available', 0, 25, NULL, '2026-11-21 11:47:50.338031+00', NULL, '2026-11-21 11:47:50.338031+00', 1, '{"n": 4}', NULL, NULL, 'report', '{}', 'default', '{}', '\x6f3e9a9c8e3529a6e20235ebd3c164d8c66b44c66781306f5e8d3aeb4565008e', B'11010001');
INSERT INTO public.river_job VALUES (10, 'retryable', 1, 5, '2026-11-21 11:47:50.402131+00', '2026-11-21 11:47:50.340017+00', NULL, '2100-01-02 03:04:05.678901+00', 1, '{"what": "fail"}', '{made}', '{"{\"at\": \"2026-11-21T11:47:50.421317247Z\", \"error\": \"attempt 1 went wrong: «naïve» \\\"quoted\\\"\", \"trace\": \"\", \"attempt\": 1}"}', 'work', '{}', 'work', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (11, 'retryable', 1, 25, '2026-11-21 11:47:50.681225+00', '2026-11-21 11:47:50.654104+00', NULL, '2100-01-02 03:04:05.678901+00', 1, '{"what": "panic"}', '{made}', '{"{\"at\": \"2026-11-21T11:47:50.688329583Z\", \"error\": \"no way out\", \"trace\": \"main.(*worker).Work\\n\\tgithub.com/pawlhq/pawl/pawlimport/testdata/make/river/main.go:58\\ngithub.com/riverqueue/river.(*wrapperWorkUnit[...]).Work\\n\\tgithub.com/riverqueue/river@v0.51.0/work_unit_wrapper.go:39\\ngithub.com/riverqueue/river/internal/jobexecutor.(*JobExecutor).execute.func2\\n\\tgithub.com/riverqueue/river@v0.51.0/internal/jobexecutor/job_executor.go:290\\ngithub.com/riverqueue/river/internal/riverplugin.(*ResumableMiddleware).Work\\n\\tgithub.com/riverqueue/river@v0.51.0/internal/riverplugin/plugin.go:65\\ngithub.com/riverqueue/river/internal/execution.MiddlewareChain.MiddlewareChain.Backward[...].func3.MiddlewareChain-range1.func5\\n\\tgithub.com/riverqueue/river@v0.51.0/internal/execution/execution.go:30\\ngithub.com/riverqueue/river/internal/jobexecutor.(*JobExecutor).execute\\n\\tgithub.com/riverqueue/river@v0.51.0/internal/jobexecutor/job_executor.go:323\\ngithub.com/riverqueue/river/internal/jobexecutor.(*JobExecutor).Execute\\n\\tgithub.com/riverqueue/river@v0.51.0/internal/jobexecutor/job_executor.go:172\\nruntime.goexit\\n\\truntime/asm_amd64.s:1771\\n\", \"attempt\": 1}"}', 'work', '{}', 'work', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (12, 'scheduled', 0, 25, '2026-11-21 11:47:50.750716+00', '2026-11-21 11:47:50.73672+00', NULL, '2100-01-02 03:04:05.678916+00', 1, '{"what": "snooze"}', '{made}', NULL, 'work', '{"snoozes": 1}', 'work', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (13, 'cancelled', 1, 25, '2026-11-21 11:47:50.85559+00', '2026-11-21 11:47:50.812565+00', '2026-11-21 11:47:50.894045+00', '2026-11-21 11:47:50.812565+00', 1, '{"what": "cancel"}', '{made}', '{"{\"at\": \"2026-11-21T11:47:50.893954569Z\", \"error\": \"JobCancelError: not wanted any more\", \"trace\": \"\", \"attempt\": 1}"}', 'work', '{}', 'work', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (14, 'discarded', 1, 1, '2026-11-21 11:47:51.180578+00', '2026-11-21 11:47:51.15267+00', '2026-11-21 11:47:51.190095+00', '2026-11-21 11:47:51.15267+00', 1, '{"what": "fail"}', '{made}', '{"{\"at\": \"2026-11-21T11:47:51.190046127Z\", \"error\": \"attempt 1 went wrong: «naïve» \\\"quoted\\\"\", \"trace\": \"\", \"attempt\": 1}"}', 'work', '{}', 'work', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (15, 'completed', 1, 25, '2026-11-21 11:47:51.273128+00', '2026-11-21 11:47:51.238072+00', '2026-11-21 11:47:51.291416+00', '2026-11-21 11:47:51.238072+00', 1, '{"what": "complete"}', '{made}', NULL, 'work', '{}', 'work', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (16, 'retryable', 3, 4, '2026-11-21 11:47:51.69126+00', '2026-11-21 11:47:51.331683+00', NULL, '2100-01-02 03:04:05.678901+00', 3, '{"what": "fail"}', '{made,made,made}', '{"{\"at\": \"2026-11-21T11:47:51.366130747Z\", \"error\": \"attempt 1 went wrong: «naïve» \\\"quoted\\\"\", \"trace\": \"\", \"attempt\": 1}","{\"at\": \"2026-11-21T11:47:51.419920281Z\", \"error\": \"attempt 2 went wrong: «naïve» \\\"quoted\\\"\", \"trace\": \"\", \"attempt\": 2}","{\"at\": \"2026-11-21T11:47:51.696019503Z\", \"error\": \"attempt 3 went wrong: «naïve» \\\"quoted\\\"\", \"trace\": \"\", \"attempt\": 3}"}', 'work', '{}', 'work', '{often}', NULL, NULL);
INSERT INTO public.river_job VALUES (17, 'running', 1, 25, '2026-11-21 11:47:51.902348+00', '2026-11-21 11:47:51.897679+00', NULL, '2026-11-21 11:47:51.897679+00', 1, '{"what": "hang"}', '{made}', NULL, 'work', '{}', 'work', '{}', NULL, NULL);
INSERT INTO public.river_leader VALUES ('2026-11-21 11:47:51.346284+00', '2026-11-21 11:48:06.346284+00', 'made', 'default');
INSERT INTO public.river_migration VALUES ('main', 1, '2026-11-21 11:47:50.209453+00');
INSERT INTO public.river_migration VALUES ('main', 2, '2026-11-21 11:47:50.217714+00');
INSERT INTO public.river_migration VALUES ('main', 3, '2026-11-21 11:47:50.235491+00');
INSERT INTO public.river_migration VALUES ('main', 4, '2026-11-21 11:47:50.238793+00');
INSERT INTO public.river_migration VALUES ('main', 5, '2026-11-21 11:47:50.245153+00');
INSERT INTO public.river_migration VALUES ('main', 6, '2026-11-21 11:47:50.27518+00');
INSERT INTO public.river_migration VALUES ('main', 7, '2026-11-21 11:47:50.282877+00');
INSERT INTO public.river_migration VALUES ('main', 8, '2026-11-21 11:47:50.294861+00');
INSERT INTO public.river_queue VALUES ('work', '2026-11-21 11:47:50.371837+00', '{}', NULL, '2026-11-21 11:47:51.344496+00');
SELECT pg_catalog.setval('public.river_job_id_seq', 17, true);
SELECT pg_catalog.setval('public.river_notification_id_seq', 1, false);
ALTER TABLE ONLY public.river_job
    ADD CONSTRAINT river_job_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.river_leader
    ADD CONSTRAINT river_leader_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.river_migration
    ADD CONSTRAINT river_migration_pkey1 PRIMARY KEY (line, version);
ALTER TABLE ONLY public.river_notification
    ADD CONSTRAINT river_notification_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.river_queue
    ADD CONSTRAINT river_queue_pkey PRIMARY KEY (name);
CREATE INDEX river_job_args_index ON public.river_job USING gin (args);
CREATE INDEX river_job_kind ON public.river_job USING btree (kind);
CREATE INDEX river_job_metadata_index ON public.river_job USING gin (metadata);
CREATE INDEX river_job_prioritized_fetching_index ON public.river_job USING btree (state, queue, priority, scheduled_at, id);
CREATE INDEX river_job_state_and_finalized_at_index ON public.river_job USING btree (state, finalized_at) WHERE (finalized_at IS NOT NULL);
CREATE UNIQUE INDEX river_job_unique_idx ON public.river_job USING btree (unique_key) WHERE ((unique_key IS NOT NULL) AND (unique_states IS NOT NULL) AND public.river_job_state_in_bitmask(unique_states, state));
CREATE INDEX river_notification_created_at_idx ON public.river_notification USING btree (created_at);
CREATE INDEX river_notification_topic_id_idx ON public.river_notification USING btree (topic, id);
