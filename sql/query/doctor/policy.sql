-- policy: queues whose policy has a rate, weights or a backoff that PutQueue would not store.
select format('the %s of queue %s cannot be read: %s%s', p.field, q.name, left(p.value::text, 200),
              case when p.field like '%rate' then '; no job of the queue starts' else '; the default is used' end),
       format('store the policy again: pawl queue set %s', q.name), p.field like '%rate'
from pawl.queue q,
     lateral (
       values ('rate', q.rate, pawl.is_rate(q.rate)), ('channel rate', q.channel_rate, pawl.is_rate(q.channel_rate)),
              ('weights', q.weights, coalesce((
                 select bool_and(w.value::text ~ '^[1-9][0-9]{0,3}$')
                 from jsonb_each(case when jsonb_typeof(q.weights) = 'object' then q.weights else '{"": 0}' end) w), true)),
              ('backoff', q.backoff, coalesce((
                 select bool_and(jsonb_typeof(b.value) = 'number')
                 from jsonb_each(case when jsonb_typeof(q.backoff) = 'object' then q.backoff else '{"": ""}' end) b), true))
     ) p (field, value, fine)
where p.value is not null and not p.fine
