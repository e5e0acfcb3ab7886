-- key_is_free returns whether a finished job may have its unique key again: no other job has it, and it is not kept
-- for another.
-- Index: unique_key's primary key.
create or replace function pawl.key_is_free(id bigint, queue text, key text, opts jsonb) returns boolean
language sql stable as $$
  select key_is_free.key is null or not exists (
    select from pawl.unique_key h
    where h.scope = pawl.key_scope(key_is_free.queue, key_is_free.opts) and h.key = key_is_free.key
      and h.job_id <> key_is_free.id
      and (h.live or h.keep_until > clock_timestamp())
  )
$$;
