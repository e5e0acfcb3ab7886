-- count returns how many jobs match a filter, exactly. It counts only jobs with ids below `below` (null: all), and
-- stops at `most` (null: it counts all).
-- Moves nothing. It reads every job it counts, and whole tables if no index helps. Archived jobs are counted by
-- chunks if the filter has only queue, states and worker. Use queue_stats where that is too slow.
create or replace function pawl.count(filter jsonb, below bigint, most bigint) returns bigint
language plpgsql stable set jit = off as $$
declare
  archived constant text := pawl.filter(count.filter, 'archive');
  chunks   constant boolean := below is null and count.filter - '{queue,states,worker}'::text[] = '{}';
  query    text;
  total    bigint := 0;
  n        bigint;
begin
  select string_agg(format('select from %s t where %s and ($1 is null or t.id < $1)', u.source, u.condition),
                    ' union all ')
  into query
  from (values ('pawl.job', pawl.filter(count.filter, 'job')), ('pawl.dead', pawl.filter(count.filter, 'dead')),
               (pawl.archive_source(count.filter), case when not chunks then archived end)) as u (source, condition)
  where u.condition is not null;
  if query is not null then
    execute 'select count(*) from (' || query || ' limit $2) found' into total using below, most;
  end if;
  if chunks and archived is not null then
    execute 'select coalesce(sum(t.n), 0) from pawl.archive_chunk t where ' || archived into n;
    total := least(total + n, most);
  end if;
  return total;
end $$;
