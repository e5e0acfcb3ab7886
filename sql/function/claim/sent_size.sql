-- sent_size returns how many bytes the columns of a job have when the server sends them as text. It fails as sending
-- fails, also if they are too many for one message: 1 GB. It reads data whole: its length alone would not tell whether
-- it can be read.
create or replace function pawl.sent_size(args jsonb, data bytea, opts jsonb, errors jsonb, checkpoint jsonb)
returns bigint
language plpgsql stable parallel safe as $$
declare
  size constant bigint := coalesce(octet_length(args::text), 0)::bigint
    + 2 * coalesce(octet_length(data || ''), 0)::bigint
    + coalesce(octet_length(opts::text), 0) + coalesce(octet_length(errors::text), 0)
    + coalesce(octet_length(checkpoint::text), 0);
begin
  if size > 1000000000 then
    raise exception 'its row has % bytes as text; at most 1000000000 can be sent', size using errcode = '54000';
  end if;
  return size;
end $$;
