-- return_permit deletes the permits of a job whose result a SQL session has reported. It returns ok. If the result
-- was refused, the permits stay, because another claim may have the job now. But if the job does not exist, it was
-- cancelled or deleted while this session ran it, and the permits go.
create or replace function pawl.return_permit(id bigint, ok boolean) returns boolean language plpgsql as $$
begin
  if ok or not exists (select from pawl.job j where j.id = return_permit.id) then
    perform pawl.free_permits(array_agg(p.job_id), array_agg(p.lease))
    from pawl.permit p where p.job_id = return_permit.id having count(*) > 0;
  end if;
  return ok;
end $$;
