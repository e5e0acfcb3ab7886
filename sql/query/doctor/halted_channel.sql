-- halted_channel: ordered channels that are halted behind a dead job; of each queue the oldest.
select format('channel %s of queue %s has been halted since %s by the dead job %s; jobs waiting behind it: %s%s',
              h.channel, h.queue, h.halted_at::timestamptz(0), h.job_id,
              (select count(*) from (select from pawl.ordered_job t where t.queue = h.queue and t.channel = h.channel
                                     limit 10000) t),
              case when h.others > 0 then format('. Other halted channels of the queue: %s', h.others) end),
       format('retry the job: pawl job retry %s; or continue without it: select pawl.resume_channel(%L, %L)',
              h.job_id, h.queue, h.channel), true
from (
  select h.*, count(*) over (partition by h.queue) - 1 as others,
         row_number() over (partition by h.queue order by h.halted_at) as nth
  from pawl.halted_channel h
) h
where h.nth = 1
