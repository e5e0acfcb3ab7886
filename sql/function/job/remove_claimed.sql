-- remove_claimed: remove, of held jobs alone: for workers, who may not take away what others hold.
create or replace function pawl.remove_claimed(ids bigint[], epochs integer[], keep boolean) returns setof bigint
language plpgsql as $$
begin
  if array_position(epochs, null) is not null or cardinality(epochs) <> cardinality(ids) then
    raise exception 'pawl: remove_held wants an epoch for each job' using errcode = '22023';
  end if;
  return query select pawl.remove(ids, epochs, keep);
end $$;
