-- why_unreadable returns why the server cannot send the columns of a job, or null if it can.
create or replace function pawl.why_unreadable(
  args jsonb, data bytea, opts jsonb, errors jsonb, checkpoint jsonb, result jsonb
) returns text language plpgsql stable as $$
begin
  perform pawl.sent_size(args, data, opts, errors, checkpoint), pawl.sent_size(result, null, null, null, null);
  return null;
exception when others then
  if not pawl.is_fault_of_row(sqlstate, '') then
    raise;
  end if;
  return format('%s (SQLSTATE %s)', sqlerrm, sqlstate);
end $$;
