-- answered: the last of a SQL session's answer for a job: its permit comes back. Returns ok.
create or replace function pawl.answered(id bigint, ok boolean) returns boolean language plpgsql as $$
begin
  if ok then
    perform pawl.free(array_agg(p.job_id), array_agg(p.lease)) from pawl.permit p where p.job_id = answered.id having count(*) > 0;
  end if;
  return ok;
end $$;
