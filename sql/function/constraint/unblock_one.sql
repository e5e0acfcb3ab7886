-- unblock for one job. Returns false if another transaction has locked its row.
create or replace function pawl.unblock(id bigint) returns boolean language plpgsql as $$
begin
  perform pawl.unblock(array[unblock.id]);
  return not found;
end $$;
