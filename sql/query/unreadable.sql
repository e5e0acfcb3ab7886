-- unreadable: the tables of a schema that the current role may not read, and the sequence of ids likewise.
--   $1   the schema
select c.relname::text
from pg_namespace s
join pg_class c on c.relnamespace = s.oid
where s.nspname = $1::text
  and (c.relkind in ('r', 'p') and not c.relispartition or c.relkind = 'S' and c.relname = 'pos')
  and not (
    has_schema_privilege(s.oid, 'usage')
    and case when c.relkind = 'S' then has_sequence_privilege(c.oid, 'select')
             else has_table_privilege(c.oid, 'select') end
  )
order by c.relname
