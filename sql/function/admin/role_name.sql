-- role_name: the name of one of this schema's roles: the schema's, an underscore, and producer, worker, reader or admin. Of a schema whose name
-- is too long for that, 45 bytes of it and eight digits of its hash stand for it.
create or replace function pawl.role_name(what text) returns text language sql stable as $$
  select case when length(n.nspname) <= 54 then n.nspname::text else left(n.nspname::text, 45) || '_' || left(md5(n.nspname::text), 8) end || '_' || what
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.oid = 'pawl.job'::regclass
$$;
