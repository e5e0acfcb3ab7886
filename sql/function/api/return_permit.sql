-- return_permit: the last of a SQL session's answer for a job: its permit comes back. Returns ok.
-- Not if somebody else may have the job now; if nobody has, it was cancelled or deleted, and who answers was at work on it until now.
create or replace function pawl.return_permit(id bigint, ok boolean) returns boolean language plpgsql as $$
begin
  if ok or not exists (select from pawl.job j where j.id = return_permit.id) then
    perform pawl.free_permits(array_agg(p.job_id), array_agg(p.lease)) from pawl.permit p where p.job_id = return_permit.id having count(*) > 0;
  end if;
  return ok;
end $$;
