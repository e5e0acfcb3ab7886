-- system_stats returns the figures of the whole installation, one row.
--   workers, stale   live workers, and those of them whose heartbeat is so late that the next rescue declares them
--                    lost
--   version          of the schema
--   xmin_age         seconds since the start of this database's oldest transaction that has a snapshot or a number,
--                    including prepared transactions
--   semaphores       {key: permits in use} of named limits, from at most 10,000 permits
--   stuck            stuck handlers of live workers, at their last heartbeats
-- Moves nothing. It reads worker whole, and permit by its primary key.
create or replace function pawl.system_stats() returns table (
  now timestamptz, workers bigint, stale bigint, version integer, xmin_age double precision, semaphores jsonb,
  stuck bigint
) language plpgsql set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_column
begin
  return query
  select clock_timestamp(), w.n, w.stale,
         (select coalesce(max(m.version), 0)::integer from pawl.migration m),
         greatest(
           (select extract(epoch from clock_timestamp() - min(a.xact_start)) from pg_stat_activity a
            where a.datname = current_database() and a.pid <> pg_backend_pid()
              and (a.backend_xmin is not null or a.backend_xid is not null)),
           (select extract(epoch from clock_timestamp() - min(p.prepared))
            from pg_prepared_xacts p where p.database = current_database()),
           0)::double precision,
         (select coalesce(jsonb_object_agg(s.channel, s.n), '{}')
          from (select p.channel, count(*) as n
                from (select p.channel from pawl.permit p where p.queue = '' limit 10000) p
                group by p.channel) s),
         w.stuck
  from (
    select count(*) as n,
           count(*) filter (
             where clock_timestamp() > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after
           ) as stale,
           coalesce(sum(cardinality(w.stuck)), 0)::bigint as stuck
    from pawl.worker w where w.gone_at is null
  ) w;
end $$;
