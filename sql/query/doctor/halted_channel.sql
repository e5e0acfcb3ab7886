-- halted_channel: ordered channels that stand still because their head died, each queue's oldest first.
select format('channel %s of queue %s stands still since %s, because job %s died: %s jobs wait%s', h.channel, h.queue, h.halted_at::timestamptz(0), h.job_id,
              (select count(*) from (select from pawl.ordered_job t where t.queue = h.queue and t.channel = h.channel limit 10000) t),
              case when h.others > 0 then format('. So do %s more of its channels', h.others) end),
       format('retry it: pawl job retry %s; or go on without it: select pawl.resume_channel(%L, %L)', h.job_id, h.queue, h.channel), true
from (
  select h.*, count(*) over (partition by h.queue) - 1 as others, row_number() over (partition by h.queue order by h.halted_at) as nth
  from pawl.halted_channel h
) h
where h.nth = 1
