-- isolate_followup does the parts of a follow-up that can be done, each on its own, after the whole has failed. If a
-- part fails for a reason of its own, it puts the row aside: the row keeps that part and its error, and gets a negative
-- id. An error that may pass (out of memory, an internal error) puts it aside after twenty tries.
--   id   a row of followup that the caller has locked
-- Returns done, left (for another call) or aside. It raises the error of a part that would fail for every row.
-- Index: followup's primary key.
create or replace function pawl.isolate_followup(id bigint) returns text
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
  result   text := 'done';
  part     text;
  wrong    text;
  state    text;
  violated text; -- the name of a violated constraint
begin
  foreach part in array '{channel,dependents,batch}'::text[] loop
    begin
      if exists (select from pawl.settle_followups(array[isolate_followup.id], array[part]) s
                 where s.skipped <> '{}') then
        result := 'left';
      else
        update pawl.followup l
        set ordered = l.ordered and part <> 'channel', batch = case when part <> 'batch' then l.batch end
        where l.id = isolate_followup.id;
      end if;
    exception when others then
      get stacked diagnostics violated = constraint_name;
      if sqlstate = '55P03' then
        result := 'left';
      elsif pawl.is_fault_of_row(sqlstate, violated) then
        state := sqlstate;
        wrong := concat_ws('; ', wrong, format('%s: %s (SQLSTATE %s)', part, left(sqlerrm, 500), sqlstate));
      else
        raise;
      end if;
    end;
  end loop;
  if wrong is null then
    return result;
  end if;
  update pawl.followup l
  set id = case when left(state, 2) in ('53', 'XX') and l.tries < 20 then l.id else -l.id end,
      tries = l.tries + 1, error = wrong
  where l.id = isolate_followup.id
  returning case when l.id < 0 then 'aside' else 'left' end into result;
  if result = 'aside' then
    raise warning 'pawl: a follow-up was put aside: %', wrong;
  end if;
  return result;
end $$;
