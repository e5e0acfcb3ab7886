-- lane_priority: the lane priority of a ticket. Returned jobs come before all priorities, suspects (two lost leases or more)
-- have a lane of their own below that, from which a worker takes one at a time.
create or replace function pawl.lane_priority(priority integer, crashes integer, returned boolean) returns integer
language sql immutable parallel safe as $$
  select case when crashes >= 2 then -32769 when returned then -32768 else priority end
$$;
