-- insert: a job, by SQL.
--   kind   args (JSON or null)
--   opts   {queue, channel, priority, delay (seconds), run_at, max_attempts, fingerprint, headers {}, backoff {base, max, growth, power,
--          jitter: seconds}, data (base64), ordered, unique {key, period, global, until_start, replace, reschedule}, reserve (seconds),
--          after: [{id, on: ok | any | not_ok, keep_waiting}], attempt (used already elsewhere)}
-- Refuses, with SQLSTATE 22023, what it does not know and what a claim could not read: see wrong.
-- Returns the id; with a unique key that is taken, that of the job that has it.
-- Runs in the caller's transaction: in a trigger, the job is there if the row is.
create or replace function pawl.insert(kind text, args jsonb default null, opts jsonb default '{}') returns bigint
language sql as $$
  select r.id from pawl.insert_many(jsonb_build_array(jsonb_build_object('kind', kind, 'args', args, 'opts', opts))) r
$$;
