-- lane_priority returns the priority of the lane for a ticket. Returned jobs come before all priorities. Suspects,
-- jobs of which two leases or more were lost, have a lane before that, from which a worker claims one job at a
-- time.
create or replace function pawl.lane_priority(priority integer, crashes integer, returned boolean) returns integer
language sql immutable parallel safe as $$
  select case when crashes >= 2 then -32769 when returned then -32768 else priority end
$$;
