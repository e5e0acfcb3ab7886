-- insert inserts one job by SQL and returns its id. If another job has the unique key, it returns the id of that
-- job.
--   kind   selects the handler        args   JSON or null
--   opts   {queue, channel, priority, delay (seconds), run_at, max_attempts, fingerprint, headers {}, data
--          (base64), ordered, backoff {base, max, growth, power, jitter: seconds}, unique {key, period (seconds),
--          global, until_start, replace, reschedule}, reserve (seconds), after: [{id, on: ok | any | not_ok,
--          keep_waiting}], attempt (attempts used elsewhere)}
-- It raises SQLSTATE 22023 for options that do not exist and values that a claim could not read: see validate_spec.
-- It runs in the caller's transaction: in a trigger, the job exists if and only if the row does.
create or replace function pawl.insert(kind text, args jsonb default null, opts jsonb default '{}') returns bigint
language sql set jit = off as $$
  select r.id from pawl.insert_many(jsonb_build_array(jsonb_build_object('kind', kind, 'args', args, 'opts', opts))) r
$$;
