-- count returns how many jobs match a filter, exactly. It counts only jobs with ids below `below` (null: all), and
-- stops at `most` (null: it counts all).
-- Moves nothing. It reads every job it counts, and whole tables if no index helps. Use queue_stats where that is
-- too slow.
create or replace function pawl.count(filter jsonb, below bigint, most bigint) returns bigint
language plpgsql stable as $$
declare
  query text;
  total bigint;
begin
  select string_agg(format('select from pawl.%I t where %s and ($1 is null or t.id < $1)', u.source, c.condition),
                    ' union all ')
  into query
  from unnest(array['job', 'dead', 'archive']) as u (source),
       lateral (select pawl.filter(count.filter, u.source) as condition) c
  where c.condition is not null;
  if query is null then
    return 0;
  end if;
  execute 'select count(*) from (' || query || ' limit $2) found' into total using below, most;
  return total;
end $$;
