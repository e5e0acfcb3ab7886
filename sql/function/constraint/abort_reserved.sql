-- abort_reserved: take reserved jobs away. All or none, as commit, with the same error.
create or replace function pawl.abort_reserved(ids bigint[]) returns void language plpgsql as $$
begin
  perform pawl.extend_reserved(ids, '0'); -- They are reserved, and locked from here on.
  perform pawl.remove(ids, array_fill(null::integer, array[cardinality(ids)]), false);
end $$;
