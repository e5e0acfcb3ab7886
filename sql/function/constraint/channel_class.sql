-- channel_class returns the first half of the key of an ordered channel's advisory lock; channel_object returns the
-- second. The channels of a queue share 1,024 locks: a transaction that took 20,000 ran out of shared memory.
create or replace function pawl.channel_class(queue text) returns integer language sql immutable parallel safe as $$
  select hashtext('pawl.channel ' || coalesce(queue, 'default'))
$$;
