-- run_followups does what follows from the end of constrained jobs: the next job of an ordered channel gets its
-- ticket, jobs that waited for a dependency get theirs or are cancelled, and batches are counted.
--   most   rows of followup to take at once
-- Moves: rows out of followup; the others as settle_followups does. A row that fails for a reason of its own is put
-- aside: it keeps its error and gets a negative id, and this function does not see it again. Verify and Doctor find it;
-- retry_followups makes it pending again.
-- Returns how many rows were done (settled), how many were left, and whether there are more because jobs were
-- cancelled.
-- Index: followup's primary key.
-- Survives: two calls at once (skip locked); another transaction that has locked a channel or a job (the row is left
-- for the next call; where a lock cannot be skipped, this waits 50 ms at most); a crash (the rows were written by the
-- transaction that finished the jobs); a row that cannot be done (a set that fails is halved, down to the row).
create or replace function pawl.run_followups(most integer)
returns table (settled integer, "left" integer, more boolean)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set lock_timeout = '50ms' as $$
#variable_conflict use_column
declare
  ends    bigint[]; -- rows of followup that this call has locked
  skipped bigint[] := '{}'; -- those of them that are left for the next call,
  late    bigint[] := '{}'; -- and those that waited for a lock, or failed for want of memory,
  aside   integer  := 0;    -- and how many were put aside
  froms   integer[];        -- parts of ends that are still to be done
  tos     integer[];
  low     integer;
  high    integer;
  part    record;
  state    text;
  violated text; -- the name of a violated constraint
begin
  more := false; settled := 0; "left" := 0;
  ends := array(select l.id from pawl.followup l where l.id > 0 order by l.id limit most for update skip locked);
  froms := array[1]; tos := array[cardinality(ends)];
  while froms <> '{}' loop
    low := froms[cardinality(froms)]; high := tos[cardinality(tos)];
    froms := trim_array(froms, 1); tos := trim_array(tos, 1);
    continue when low > high;
    begin
      select s.skipped, s.more into part
      from pawl.settle_followups(ends[low:high], '{channel,dependents,batch}') s;
      skipped := skipped || part.skipped;
      more := more or part.more;
    exception when others then
      state := sqlstate;
      get stacked diagnostics violated = constraint_name;
      if not pawl.is_fault_of_row(state, violated) and state <> '55P03' then
        raise;
      elsif cardinality(late) >= 5 then
        skipped := skipped || ends[low:high];
      elsif low < high then
        froms := froms || array[(low + high) / 2 + 1, low]; tos := tos || array[high, (low + high) / 2];
      elsif state = '55P03' then
        late := late || ends[low];
      else
        state := pawl.isolate_followup(ends[low]);
        if state = 'left' then
          late := late || ends[low];
        elsif state = 'aside' then
          aside := aside + 1;
        end if;
      end if;
    end;
  end loop;

  delete from pawl.followup l where l.id = any (ends) and l.id <> all (skipped || late);
  get diagnostics settled = row_count;
  "left" := cardinality(ends) - aside - settled;
  if "left" >= most then
    late := ends; -- These rows go to the end, or else the rows behind them would wait too.
  end if;
  update pawl.followup l set id = default where l.id = any (late);
  return next;
end $$;
