-- key_scope: where a job's unique key is unique: in its queue, or everywhere ('').
create or replace function pawl.key_scope(queue text, opts jsonb) returns text
language sql immutable parallel safe as $$
  select case when opts ? 'global' then '' else queue end
$$;
