-- role_name returns the name of one of this schema's roles: the schema's name, an underscore, and producer, worker,
-- reader or admin. If the schema's name is too long for that, the first 45 bytes and eight digits of its hash stand
-- for it.
create or replace function pawl.role_name(what text) returns text language sql stable as $$
  select case when length(n.nspname) <= 54 then n.nspname::text
              else left(n.nspname::text, 45) || '_' || left(md5(n.nspname::text), 8) end || '_' || what
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.oid = 'pawl.job'::regclass
$$;
