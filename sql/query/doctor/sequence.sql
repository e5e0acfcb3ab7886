-- sequence: is one near its end? It cannot wrap.
select format('sequence %s has %s numbers left of %s: without one nothing can be inserted', s.sequencename, s.max_value - s.last_value, s.max_value),
       'move to a new installation (another schema, or a new database) before they are used up', true
from pg_sequences s
where s.schemaname = (select n.nspname from pg_class k join pg_namespace n on n.oid = k.relnamespace where k.oid = 'pawl.job'::regclass)
  and s.last_value > s.max_value / 10 * 9
