-- estimate_counts: of counts by queue, those beyond what is counted replaced by estimates: what the planner expects of the table and the others do
-- not account for, shared as the table's statistics have the queues.
--   names, counts   one an array position     most        counts up to it are exact and stay
--   relation        the table                 condition   on its rows t
create or replace function pawl.estimate_counts(names text[], counts bigint[], most bigint, relation regclass, condition text) returns bigint[]
language plpgsql stable set jit = off as $$
declare
  whole bigint;
begin
  if not most < any (counts) then
    return counts;
  end if;
  whole := pawl.estimate_rows(format('select from %s t where %s', relation, condition));
  return (
    with f as (select f.queue, f.n from pawl.queue_frequencies(array[relation]) f),
    u as (
      select u.n, u.ord, case when u.n > most then coalesce(f.n, 1) end as share
      from unnest(names, counts) with ordinality as u (queue, n, ord)
      left join f on f.queue = u.queue
    ),
    rest as (select greatest(whole - coalesce(sum(u.n) filter (where u.share is null), 0), 0) as n, sum(u.share) as shares from u)
    select array_agg(case when u.share is null then u.n else greatest(u.n, (rest.n * u.share / rest.shares)::bigint) end order by u.ord)
    from u, rest
  );
end $$;
