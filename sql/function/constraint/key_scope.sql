-- key_scope returns where the unique key of a job is unique: the name of its queue, or '' for all queues.
create or replace function pawl.key_scope(queue text, opts jsonb) returns text
language sql immutable parallel safe as $$
  select case when opts ? 'global' then '' else queue end
$$;
