-- followup_of returns a finished constrained job in the form that record_followups takes.
create or replace function pawl.followup_of(id bigint, queue text, channel text, opts jsonb) returns jsonb
language sql immutable parallel safe as $$
  select jsonb_build_object('id', id, 'queue', queue, 'channel', channel,
                            'ordered', coalesce(opts ? 'ordered', false), 'batch', opts -> 'batch')
$$;
