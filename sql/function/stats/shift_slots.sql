-- shift_slots moves the counts of a row of counter by a number of slots, and adds to the newest slot.
create or replace function pawl.shift_slots(counts bigint[], by bigint, more bigint) returns bigint[]
language sql immutable parallel safe as $$
  select (case when by > 0 then more || array_fill(0::bigint, array[least(by, 7)::integer - 1]) || counts
               else (counts[1] + more) || counts[2:] end)[1:7]
$$;
