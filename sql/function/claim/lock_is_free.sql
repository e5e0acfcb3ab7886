-- lock_is_free: whether no other session holds this advisory lock, shared or not. It is taken and given back in one expression: a statement that
-- is cancelled between two would leave it to the session for good, which may be a pooler's, and then those that sleep could not.
create or replace function pawl.lock_is_free(key bigint) returns boolean language sql as $$
  select case when pg_try_advisory_lock(key) then pg_advisory_unlock(key) else false end
$$;
