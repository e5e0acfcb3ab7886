-- backoff returns the seconds to wait after the given attempt n: base · growth^(n-1) · n^power, at most max, ±
-- jitter. It computes with logarithms, so that no exponent overflows. The default is 1 s, doubled up to 1 h, ± 10
-- %. It never fails: it takes the default for what is no number, and the nearest number in range for the others. Base
-- and max are at most 100 years.
create or replace function pawl.backoff(backoff jsonb, attempt integer) returns double precision
language sql volatile parallel safe as $$
  select case when b.base <= 0 then 0
              else exp(greatest(-20, least(ln(b.base) + (n - 1) * ln(b.growth) + b.power * ln(n), ln(b.most))))
                   * (1 + b.jitter * (2 * random() - 1)) end
  from (select greatest(attempt, 1)::double precision) a (n),
       (select coalesce(max(s.value) filter (where s.name = 'base'), 1),
               coalesce(max(s.value) filter (where s.name = 'max'), 3600),
               coalesce(max(s.value) filter (where s.name = 'growth'), 2),
               coalesce(max(s.value) filter (where s.name = 'power'), 0),
               coalesce(max(s.value) filter (where s.name = 'jitter'), 0.1)
        from (select l.name, greatest(l.least, least(l.most, (backoff ->> l.name)::numeric))::double precision as value
              from (values ('base', 0, 3155760000), ('max', 1e-9, 3155760000), ('growth', 1e-9, 1e9), ('power', -100, 100),
                           ('jitter', 0, 1)) as l (name, least, most)
              where jsonb_typeof(backoff -> l.name) = 'number') s) b (base, most, growth, power, jitter)
$$;
