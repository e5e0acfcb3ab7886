-- is_rate returns whether the rate in a queue's policy is one: {n, per, burst}, numbers above 0 and in range. Null is.
-- PutQueue stores no other. If a row has another, claims take nothing of that queue, and Doctor names it.
create or replace function pawl.is_rate(rate jsonb) returns boolean language sql immutable parallel safe as $$
  select rate is null or coalesce((
    select bool_and(case when jsonb_typeof(rate -> f.name) = 'number'
                         then (rate ->> f.name)::numeric between 1e-9 and 1e12 else false end)
    from unnest('{n,per,burst}'::text[]) as f (name)
  ), false)
$$;
