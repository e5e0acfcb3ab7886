-- channel_object: see channel_class.
create or replace function pawl.channel_object(channel text) returns integer language sql immutable parallel safe as $$
  select hashtext(coalesce(channel, '')) & 1023
$$;
