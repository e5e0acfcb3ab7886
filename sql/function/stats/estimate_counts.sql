-- estimate_counts returns the given counts by queue, with estimates in place of those above `most`. The estimates
-- share what the planner expects of the table, minus the exact counts, in the proportion of the queues in the
-- table's statistics.
--   names, counts   one for each array position     most        counts up to it are exact and stay
--   relation        the table                       condition   on its rows t
-- Moves nothing.
create or replace function pawl.estimate_counts(
  names text[], counts bigint[], most bigint, relation regclass, condition text
) returns bigint[]
language plpgsql stable set jit = off as $$
declare
  expected bigint;
begin
  if not most < any (counts) then
    return counts;
  end if;
  expected := pawl.estimate_rows(format('select from %s t where %s', relation, condition));
  return (
    with f as (select f.queue, f.n from pawl.queue_frequencies(array[relation]) f),
    u as (
      select u.n, u.ord, case when u.n > most then coalesce(f.n, 1) end as share
      from unnest(names, counts) with ordinality as u (queue, n, ord)
      left join f on f.queue = u.queue
    ),
    rest as (
      select greatest(expected - coalesce(sum(u.n) filter (where u.share is null), 0), 0) as n, sum(u.share) as shares
      from u
    )
    select array_agg(case when u.share is null then u.n
                          else greatest(u.n, (rest.n * u.share / rest.shares)::bigint) end
                     order by u.ord)
    from u, rest
  );
end $$;
