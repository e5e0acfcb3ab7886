-- backoff returns the seconds to wait after the given attempt n: base · growth^(n-1) · n^power, at most max, ±
-- jitter. It computes with logarithms, so that no exponent overflows. The default is 1 s, doubled up to 1 h, ± 10
-- %.
create or replace function pawl.backoff(backoff jsonb, attempt integer) returns double precision
language sql volatile parallel safe as $$
  select case when b.base <= 0 then 0
              else exp(greatest(-20, least(ln(b.base) + (n - 1) * ln(b.growth) + b.power * ln(n), ln(b.most))))
                   * (1 + b.jitter * (2 * random() - 1)) end
  from (select greatest(attempt, 1)::double precision) a (n),
       (select coalesce((backoff ->> 'base')::double precision, 1),
               coalesce((backoff ->> 'max')::double precision, 3600),
               coalesce((backoff ->> 'growth')::double precision, 2),
               coalesce((backoff ->> 'power')::double precision, 0),
               coalesce((backoff ->> 'jitter')::double precision, 0.1)) b (base, most, growth, power, jitter)
$$;
