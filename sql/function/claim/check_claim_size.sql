-- check_claim_size fails if the jobs of a claim may need more than 256 MB together when they are sent.
create or replace function pawl.check_claim_size(bytes numeric) returns boolean language plpgsql immutable as $$
begin
  if bytes > 268435456 then
    raise exception 'pawl: the jobs of a claim may need % bytes together; at most 268435456', bytes
      using errcode = '54PWL', hint = 'claim fewer jobs at once';
  end if;
  return true;
end $$;
