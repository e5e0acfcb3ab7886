-- grant_roles gives each of this schema's roles the rights it needs, and takes all others away. docs/roles.md has
-- the table.
--   make   true: create the roles that are missing; false: do something only if the roles were created before, so
--          that a migration covers what it adds
-- Every migrate calls this in its transaction, after the functions.
-- A function that a role may call runs with the rights of the functions' owner (security definer, with a fixed
-- search_path). So a producer needs no right to read jobs, and a worker no right to write them except through the
-- functions. A function in none of the lists is for the owner and admins only.
-- Immutable functions touch no table and stay as they are: as security definer they would not be inlined.
create or replace function pawl.grant_roles(make boolean) returns void language plpgsql as $$
declare
  producer constant text[] := '{
    abort_reserved,close_batch,commit_reserved,extend_reserved,insert,insert_batch,insert_constrained,
    insert_many,report_counters}';
  worker   constant text[] := producer || '{
    acquire_permits,apply_retention,bury,bury_unreadable,checkpoint,claim,claim_bounded,claim_readable,complete,
    complete_isolated,discover_lanes,drop_partition,drop_stale_permits,due_cron,end_leases,expire,extend,fail,
    find_finished,find_missing,find_tickets,free_permits,heartbeat,lock_jobs,make_partitions,peek,promote,
    prune_mutexes,read_marks,register_worker,release,remove_claimed,rescue,restore_lost,run_followups,sleep_key,
    take_cron,tick_cron,unclaim,unregister_worker,
    worker_leases,worker_started_at}';
  reader   constant text[] := '{
    await_key,channel_stats,claimed,count,find_archived,get,list,live_queues,queue_stats,read_jobs,
    system_stats,table_stats,verify,violations}';
  space    oid;
  named    text; -- The schema,
  everyone text; -- and its roles, as SQL.
  names    text[];
  who      text;
  it       record;
begin
  select c.relnamespace, quote_ident(n.nspname) into space, named
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = 'pawl.job'::regclass;
  names := array(
    select pawl.role_name(w.what)
    from unnest('{producer,worker,reader,admin}'::text[]) with ordinality as w (what, ord)
    order by w.ord
  );
  if not make and not exists (
    select from pg_namespace n, aclexplode(n.nspacl) a
    join pg_roles r on r.oid = a.grantee
    where n.oid = space and r.rolname = any (names)
  ) then
    return;
  end if;
  foreach who in array names loop
    if not exists (select from pg_roles r where r.rolname = who) then
      begin
        execute format('create role %I nologin', who);
      exception when duplicate_object or unique_violation then
        -- Another database with a schema of this name has created the role meanwhile.
      end;
    end if;
  end loop;
  select string_agg(quote_ident(u.name), ', ') into everyone from unnest(names) as u (name);

  execute format('revoke all on all functions in schema %1$s from public, %2$s', named, everyone);
  execute format('revoke all on all tables in schema %1$s from public, %2$s', named, everyone);
  execute format('revoke all on all sequences in schema %1$s from public, %2$s', named, everyone);
  execute format('revoke all on schema %1$s from public, %2$s', named, everyone);
  execute format('grant usage on schema %1$s to %2$s', named, everyone);

  for it in
    select p.oid::regprocedure as called, p.provolatile, array_remove(array[
      case when p.proname = any (producer) then names[1] end,
      case when p.proname = any (worker) then names[2] end,
      case when p.proname = any (reader) then names[3] end,
      case when p.proname <> all ('{advance_sequence,grant_roles}') then names[4] end], null) as callers
    from pg_proc p
    where p.pronamespace = space
  loop
    if cardinality(it.callers) > 1 and it.provolatile <> 'i' then
      execute format('alter function %s security definer set search_path = pg_catalog, pg_temp', it.called);
    end if;
    foreach who in array it.callers loop
      execute format('grant execute on function %s to %I', it.called, who);
    end loop;
  end loop;

  -- Partitions are read and written through their parent.
  for it in
    select c.oid::regclass as called, c.relname as name
    from pg_class c
    where c.relnamespace = space and c.relkind in ('r', 'p', 'v') and not c.relispartition
  loop
    execute format('grant select on %s to %I', it.called, names[3]);
    execute format('grant select, insert, update, delete on %s to %I', it.called, names[4]);
  end loop;
  execute format('grant select on pawl.migration to %s', everyone);
  execute format('grant select on pawl.queue to %I', names[2]);
  execute format('grant select on sequence pawl.pos to %I', names[3]);
  execute format('grant usage on sequence pawl.pos to %I, %I', names[1], names[2]);
  execute format('grant usage, select on all sequences in schema %s to %I', named, names[4]);
end $$;
