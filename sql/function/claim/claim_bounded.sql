-- claim_bounded is claim for large jobs. It claims as many of them as need at most 256 MB together when they are sent,
-- or one job.
--   parameters as claim
-- Moves: what claim moves. Returns what claim returns. If it claims fewer jobs of a part of a lane than it was asked
-- for, there is also a row without a position for that part, as for a limit.
-- It looks at the sizes of the jobs first, and then claims with smaller quotas. If other claims took some of the
-- tickets meanwhile, the next jobs may be larger; then it looks again.
-- Index: ready's and job's primary keys.
-- Survives: what claim survives.
create or replace function pawl.claim_bounded(
  lease uuid, worker bigint, lasting interval, most integer,
  queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], quotas integer[]
) returns table (
  queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb,
  data bytea, priority smallint, attempt smallint, max_attempts smallint, crashes smallint, constrained boolean,
  permit boolean, created_at timestamptz, run_at timestamptz, fingerprint text, unique_key text, opts jsonb,
  errors jsonb, checkpoint jsonb, now timestamptz
)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  ask     integer := claim_bounded.most;
  allowed integer[];
  cut     bigint; -- the first part of which not all jobs fit
begin
  for round in 1 .. 10 loop
    with ticket as materialized (
      select u.ord, t.pos, t.job_id, t.epoch
      from unnest(claim_bounded.queues, claim_bounded.priorities, claim_bounded.channels, claim_bounded.marks,
                  claim_bounded.untils, claim_bounded.quotas)
             with ordinality as u (queue, priority, channel, mark, until, quota, ord),
           lateral (
             select t.pos, t.job_id, t.epoch
             from pawl.ready t
             where t.queue = u.queue and t.priority = u.priority and t.channel = u.channel
               and t.pos > u.mark and t.pos <= u.until
             order by t.pos
             limit u.quota
           ) t
      limit claim_bounded.most
    ),
    sized as materialized (
      select s.ord, s.n = 1 or s.n <= ask and s.bytes <= 268435456 as fits
      from (
        select t.ord, row_number() over w as n,
               sum(pawl.expanded_size(j.args, j.data, j.checkpoint)) over w as bytes
        from ticket t
        left join pawl.job j on j.id = t.job_id and j.epoch = t.epoch
        window w as (order by t.ord, t.pos)
      ) s
    )
    select array(
             select (select count(*) from sized s where s.ord = u.ord and s.fits)::integer
             from unnest(claim_bounded.quotas) with ordinality as u (quota, ord)
             order by u.ord
           ),
           (select min(s.ord) from sized s where not s.fits)
    into allowed, cut;
    if cut is null then
      allowed := claim_bounded.quotas;
    end if;
    begin
      return query
      select c.*
      from pawl.claim(
        claim_bounded.lease, claim_bounded.worker, claim_bounded.lasting, claim_bounded.most, claim_bounded.queues,
        claim_bounded.priorities, claim_bounded.channels, claim_bounded.marks, claim_bounded.untils, allowed) c;
      return query
      select u.queue, u.priority, u.channel, null::bigint, 0::bigint, false, null::integer, null::text, null::jsonb,
             null::bytea, null::smallint, null::smallint, null::smallint, null::smallint, null::boolean,
             null::boolean, null::timestamptz, null::timestamptz, null::text, null::text, null::jsonb, null::jsonb,
             null::jsonb, clock_timestamp()
      from unnest(claim_bounded.queues, claim_bounded.priorities, claim_bounded.channels)
             with ordinality as u (queue, priority, channel, ord)
      where u.ord >= cut;
      return;
    exception when sqlstate '54PWL' then
      ask := greatest(ask / 2, 1);
    end;
  end loop;
  raise exception 'pawl: other claims took the jobs that fit; claim again' using errcode = '40001';
end $$;
