-- next_epoch returns the epoch that follows an epoch. The largest integer is followed by 0.
create or replace function pawl.next_epoch(epoch integer) returns integer language sql immutable parallel safe as $$
  select case when epoch < 2147483647 then epoch + 1 else 0 end
$$;
