-- record_usage records what a claim took of limited queues: permits for a limit of running jobs, tokens for a rate.
--   lease   the lease of the claim. The claim calls this in its transaction, under the locks of the queues
-- Moves: a row of permit in for each job; the buckets change.
-- Index: lease's, job's and bucket's primary keys.
create or replace function pawl.record_usage(limited text[], lease uuid) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  took record;
begin
  insert into pawl.permit (queue, channel, job_id, lease)
  select j.queue, j.channel, j.id, record_usage.lease
  from pawl.lease l,
       unnest(l.jobs) as u (id),
       lateral (select j.id, j.queue, j.channel from pawl.job j where j.id = u.id) j,
       lateral (select from pawl.queue q
                where q.name = j.queue and (q.max_running is not null or q.channel_max_running is not null)) q
  where l.id = record_usage.lease and j.queue = any (record_usage.limited);

  for took in
    select j.queue, c.of_channel, case when c.of_channel then j.channel else '' end as channel, count(*) as n,
           case when c.of_channel then q.channel_rate else q.rate end as rate
    from pawl.lease l
    cross join unnest(l.jobs) as u (id)
    cross join lateral (select j.queue, j.channel from pawl.job j where j.id = u.id) j
    cross join (values (false), (true)) as c (of_channel)
    cross join lateral (select q.rate, q.channel_rate from pawl.queue q where q.name = j.queue) q
    where l.id = record_usage.lease and j.queue = any (record_usage.limited)
      and case when c.of_channel then q.channel_rate else q.rate end is not null
    group by 1, 2, 3, 5
    order by 1, 2, 3
  loop
    insert into pawl.bucket as b (queue, of_channel, channel, tokens, at)
    values (took.queue, took.of_channel, took.channel,
            pawl.available_tokens(took.queue, took.of_channel, took.channel, took.rate) - took.n, clock_timestamp())
    on conflict (queue, of_channel, channel) do update set tokens = excluded.tokens, at = excluded.at;
  end loop;
end $$;
