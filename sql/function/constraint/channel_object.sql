-- channel_object returns the second half of the key of an ordered channel's advisory lock: see channel_class.
create or replace function pawl.channel_object(channel text) returns integer language sql immutable parallel safe as $$
  select hashtext(coalesce(channel, '')) & 1023
$$;
