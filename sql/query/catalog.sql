-- catalog: the tables, views, indexes, sequences and functions of a schema, as schema.sql writes them, without
-- partitions.
--   $1   the schema; the definitions call it pawl
-- Returns kind, name, definition, settings (of a table's storage; null if there are none), body (of a function) and
-- valid (of an index). What roles.sql changes in functions, security definer and the search_path, is left out.
-- Reads only the catalog, which every role may read. The definitions are the same on PostgreSQL 15 to 18; those of
-- pg_dump are not.
select o.kind, o.name::text, replace(o.definition, quote_ident(s.nspname) || '.', 'pawl' || '.') as definition,
       o.settings, o.body, o.valid
from pg_namespace s,
     lateral (
       select 'table' as kind, c.relname as name,
              format('table %I (%s)%s', c.relname,
                (select string_agg(format(E'\n  %I %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                          case when a.attcollation <> 0
                                 and a.attcollation <> (select t.typcollation from pg_type t where t.oid = a.atttypid)
                               then ' collate ' || quote_ident(
                                 (select l.collname from pg_collation l where l.oid = a.attcollation)) else '' end,
                          case when a.attnotnull then ' not null' else '' end,
                          coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')), ',' order by a.attnum)
                 from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
                 where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) || E'\n',
                coalesce(' partition by ' || pg_get_partkeydef(c.oid), '')) as definition,
              array_to_string(c.reloptions, ', ') as settings, null as body, true as valid
       from pg_class c
       where c.relnamespace = s.oid and c.relkind in ('r', 'p') and not c.relispartition
       union all
       -- The text of a view differs from version to version of PostgreSQL, so its columns stand for it.
       select 'view', c.relname,
              format('view %I (%s)', c.relname,
                (select string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum)
                 from pg_attribute a where a.attrelid = c.oid and a.attnum > 0)), null, null, true
       from pg_class c
       where c.relnamespace = s.oid and c.relkind = 'v'
       union all
       select 'index', c.relname, pg_get_indexdef(c.oid), null, null, i.indisvalid and i.indisready
       from pg_class c join pg_index i on i.indexrelid = c.oid
       where c.relnamespace = s.oid and c.relkind in ('i', 'I') and not c.relispartition
       union all
       select 'sequence', c.relname, format('sequence %I cache %s', c.relname, q.seqcache), null, null, true
       from pg_class c join pg_sequence q on q.seqrelid = c.oid
       where c.relnamespace = s.oid
       union all
       select 'function', p.proname,
              format(E'function %I(%s)\n  returns %s\n  language %s%s%s', p.proname,
                pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
                (select l.lanname from pg_language l where l.oid = p.prolang),
                case p.provolatile when 'i' then ' immutable' when 's' then ' stable' else '' end
                  || case when p.proparallel = 's' then ' parallel safe' else '' end,
                (select string_agg(' set ' || u.setting, '' order by u.ord)
                 from unnest(p.proconfig) with ordinality as u (setting, ord)
                 where not starts_with(u.setting, 'search_path='))),
              null, p.prosrc, true
       from pg_proc p
       where p.pronamespace = s.oid
     ) o
where s.nspname = $1
order by array_position(array['table', 'view', 'index', 'sequence', 'function'], o.kind), o.name, o.definition
