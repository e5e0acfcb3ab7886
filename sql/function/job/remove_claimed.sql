-- remove_claimed is remove for claimed jobs only. Workers may call it; they must not remove jobs that others have
-- claimed.
create or replace function pawl.remove_claimed(ids bigint[], epochs integer[], keep boolean) returns setof bigint
language plpgsql as $$
begin
  if array_position(epochs, null) is not null or cardinality(epochs) <> cardinality(ids) then
    raise exception 'pawl: remove_claimed wants an epoch for each job' using errcode = '22023';
  end if;
  return query select pawl.remove(ids, epochs, keep);
end $$;
