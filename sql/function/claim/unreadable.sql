-- unreadable returns why no client can read a live job, or null if clients can. It tries what the server does when it
-- sends the row, in a subtransaction.
-- Moves nothing. Index: job's primary key.
-- If the server is out of memory, only a large row is at fault.
create or replace function pawl.unreadable(id bigint, epoch integer) returns text
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
  perform pawl.sent_size(j.args, j.data, j.opts, j.errors, j.checkpoint)
  from pawl.job j
  where j.id = unreadable.id and j.epoch = unreadable.epoch;
  return null;
exception when others then
  if sqlstate ~ '^(22|54|0A|XX)'
     or sqlstate = '53200' and (
       select coalesce(pg_column_size(j.args), 0) + coalesce(pg_column_size(j.data), 0)
              + coalesce(pg_column_size(j.checkpoint), 0) > 65536
       from pawl.job j where j.id = unreadable.id and j.epoch = unreadable.epoch) then
    return format('%s (SQLSTATE %s)', sqlerrm, sqlstate);
  end if;
  raise;
end $$;
