-- unblock: the same for one job: false if its row is locked by somebody.
create or replace function pawl.unblock(id bigint) returns boolean language plpgsql as $$
begin
  perform pawl.unblock(array[unblock.id]);
  return not found;
end $$;
