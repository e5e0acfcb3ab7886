-- lock_is_free returns whether no other session holds this advisory lock, shared or not.
-- It takes and releases the lock in one expression. A statement that is cancelled between two would leave the lock
-- to the session, which may be a pooler's, for good; then no session could wait with a shared lock.
create or replace function pawl.lock_is_free(key bigint) returns boolean language sql as $$
  select case when pg_try_advisory_lock(key) then pg_advisory_unlock(key) else false end
$$;
