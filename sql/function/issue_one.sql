-- issue: the same for one job: false if its row is locked by somebody.
create or replace function pawl.issue(id bigint) returns boolean language plpgsql as $$
begin
  perform pawl.issue(array[issue.id]);
  return not found;
end $$;
