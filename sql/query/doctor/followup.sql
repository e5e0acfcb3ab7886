-- followup: follow-ups of finished jobs that failed, and were put aside or are tried again. One row for each error.
select format('the follow-ups of %s finished jobs %s (such as job %s%s): %s', count(*),
              case when f.aside then 'were put aside because they failed' else 'failed and are tried again' end,
              min(f.job_id), coalesce(', batch ' || min(f.batch), ''), f.error),
       'remove the cause, then: pawl verify --repair', f.aside
from (select l.id < 0 as aside, l.job_id, l.batch, l.error from pawl.followup l where l.error is not null) f
group by f.aside, f.error
order by count(*) desc
limit 10
