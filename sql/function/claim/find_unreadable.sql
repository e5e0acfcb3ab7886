-- find_unreadable returns which of some live jobs no client can read, and why.
--   ids    the jobs
--   step   how many jobs to try together first: those that fail together are then tried one by one
-- It tries what the server does when it sends the rows, in a subtransaction each. A row that fails may take seconds, if
-- it needs a gigabyte. So each of them is tried only twice, and after 5 s it returns what it has found, if anything. If
-- the server is out of memory, only a large row is at fault.
-- Moves nothing. Index: job's primary key.
create or replace function pawl.find_unreadable(ids bigint[], step integer) returns table (id bigint, problem text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  until constant timestamptz := clock_timestamp() + interval '5 seconds';
  part  bigint[];
  bytes bigint;
  bad   boolean := false;
begin
  for i in 0 .. coalesce(cardinality(ids) - 1, -1) / step loop
    exit when bad and clock_timestamp() > until;
    part := ids[i * step + 1 : i * step + step];
    begin
      select max(coalesce(octet_length(j.args::text), 0)::bigint + 2 * coalesce(octet_length(j.data || ''), 0)::bigint
                 + coalesce(octet_length(j.opts::text), 0) + coalesce(octet_length(j.errors::text), 0)
                 + coalesce(octet_length(j.checkpoint::text), 0))
      into bytes
      from unnest(part) as u (id),
           lateral (select j.* from pawl.job j where j.id = u.id) j;
      if bytes > 1000000000 then
        raise exception 'its row has % bytes as text; at most 1000000000 can be sent', bytes using errcode = '54000';
      end if;
    exception when others then
      if not pawl.is_fault_of_row(sqlstate, '') then
        raise;
      end if;
      if step > 1 then
        return query select f.id, f.problem from pawl.find_unreadable(part, 1) f;
        bad := bad or found;
        continue;
      end if;
      if sqlstate = '53200' then
        select pawl.expanded_size(j.args, j.data, j.checkpoint) into bytes from pawl.job j where j.id = part[1];
        if bytes < 10000000 then
          raise;
        end if;
      end if;
      bad := true;
      return query select part[1], format('%s (SQLSTATE %s)', sqlerrm, sqlstate);
    end;
  end loop;
end $$;
