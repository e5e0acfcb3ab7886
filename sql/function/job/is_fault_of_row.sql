-- is_fault_of_row returns whether an error says that a row cannot be done, whatever the state of the server: a value is
-- wrong, too large, broken or in conflict. Other errors, such as a full disk or a missing privilege, would meet every
-- row.
--   state      the error's SQLSTATE
--   violated   the name of the violated constraint. 23514 without a name says that the archive lacks a partition
create or replace function pawl.is_fault_of_row(state text, violated text) returns boolean
language sql immutable parallel safe as $$
  select state = '53200'
      or left(state, 2) = any ('{0A,21,22,23,2F,38,39,44,54,P0,PW,XX}') and (state <> '23514' or violated <> '')
$$;
