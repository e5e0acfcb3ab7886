-- find_unreadable returns which of some live jobs no client can read, and why.
--   ids   the jobs
-- It tries what the server does when it sends the rows, in a subtransaction. If that fails, it tries each half, down to
-- one job. If the server is out of memory, only a large row is at fault.
-- Moves nothing. Index: job's primary key.
create or replace function pawl.find_unreadable(ids bigint[]) returns table (id bigint, problem text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  n     constant integer := coalesce(cardinality(ids), 0);
  bytes bigint;
begin
  begin
    select max(coalesce(octet_length(j.args::text), 0)::bigint + 2 * coalesce(octet_length(j.data || ''), 0)::bigint
               + coalesce(octet_length(j.opts::text), 0) + coalesce(octet_length(j.errors::text), 0)
               + coalesce(octet_length(j.checkpoint::text), 0))
    into bytes
    from unnest(find_unreadable.ids) as u (id),
         lateral (select j.* from pawl.job j where j.id = u.id) j;
    if bytes > 1000000000 then
      raise exception 'its row has % bytes as text; at most 1000000000 can be sent', bytes using errcode = '54000';
    end if;
    return;
  exception when others then
    if sqlstate !~ '^(22|54|0A|XX)' and sqlstate <> '53200' then
      raise;
    end if;
    if n = 1 then
      if sqlstate = '53200' then
        select pawl.expanded_size(j.args, j.data, j.checkpoint) into bytes from pawl.job j where j.id = ids[1];
        if bytes < 10000000 then
          raise;
        end if;
      end if;
      return query select ids[1], format('%s (SQLSTATE %s)', sqlerrm, sqlstate);
      return;
    end if;
  end;
  return query select * from pawl.find_unreadable(ids[1 : n / 2]);
  return query select * from pawl.find_unreadable(ids[n / 2 + 1 : n]);
end $$;
