-- channel_class: with channel_object the advisory lock of an ordered channel. A queue's channels are folded to 1,024 locks: 20,000
-- in one transaction ran out of shared memory.
create or replace function pawl.channel_class(queue text) returns integer language sql immutable parallel safe as $$
  select hashtext('pawl.channel ' || coalesce(queue, 'default'))
$$;
