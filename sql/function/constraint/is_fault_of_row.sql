-- is_fault_of_row returns whether an error with this SQLSTATE says that a row cannot be done, whatever the state of
-- the server: a value is wrong, too large or in conflict. Other errors, such as a full disk or a missing privilege,
-- would meet every row. 23514 is one of these: the archive lacks a partition.
create or replace function pawl.is_fault_of_row(state text) returns boolean language sql immutable parallel safe as $$
  select left(state, 2) = any ('{21,22,23,2F,38,39,44,54,P0,PW,XX}') and state <> '23514' or state = '53200'
$$;
