-- followup_of returns a finished constrained job in the form that record_followups takes. It never fails, because the
-- job could not finish then: a batch that is no id is none.
create or replace function pawl.followup_of(id bigint, queue text, channel text, opts jsonb) returns jsonb
language sql immutable parallel safe as $$
  select jsonb_build_object('id', id, 'queue', queue, 'channel', channel,
                            'ordered', coalesce(opts ? 'ordered', false),
                            'batch', case when opts ->> 'batch' ~ '^[0-9]{1,18}$' then opts -> 'batch' end)
$$;
