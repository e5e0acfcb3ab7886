-- readable_or_null returns a value, or null if the server cannot send it, or if it has more than 100 MB as text.
create or replace function pawl.readable_or_null(value jsonb) returns jsonb language plpgsql stable as $$
begin
  return case when octet_length(value::text) <= 100000000 then value end;
exception when others then
  return null;
end $$;
