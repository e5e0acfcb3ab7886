-- find_missing returns the ids of the (id, epoch) pairs that are not live at this epoch any more. Moves nothing.
-- Index: job's primary key.
create or replace function pawl.find_missing(ids bigint[], epochs integer[]) returns bigint[]
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return array(
    select u.id
    from unnest(find_missing.ids, find_missing.epochs) as u (id, epoch)
    where not exists (select from pawl.job j where j.id = u.id and j.epoch = u.epoch)
  );
end $$;
