-- sequence: sequences that are near their end. They do not wrap.
select format('sequence %s has %s numbers left of %s: inserts will fail when they are used up',
              s.sequencename, s.max_value - s.last_value, s.max_value),
       'move to a new installation, in another schema or database, before they are used up', true
from pg_sequences s
where s.schemaname = (select n.nspname from pg_class k join pg_namespace n on n.oid = k.relnamespace
                      where k.oid = 'pawl.job'::regclass)
  and s.last_value > s.max_value / 10 * 9
