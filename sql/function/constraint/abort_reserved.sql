-- abort_reserved deletes reserved jobs, all or none. If one of them is not reserved any more, it raises the error of
-- commit_reserved.
create or replace function pawl.abort_reserved(ids bigint[]) returns void language plpgsql as $$
begin
  perform pawl.extend_reserved(ids, '0'); -- Locks the jobs and checks that they are reserved.
  perform pawl.remove(ids, array_fill(null::integer, array[cardinality(ids)]), false);
end $$;
