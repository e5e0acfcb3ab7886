-- followup_of: a finished constrained job as loosen takes it.
create or replace function pawl.followup_of(id bigint, queue text, channel text, opts jsonb) returns jsonb
language sql immutable parallel safe as $$
  select jsonb_build_object('id', id, 'queue', queue, 'channel', channel, 'ordered', coalesce(opts ? 'ordered', false), 'batch', opts -> 'batch')
$$;
