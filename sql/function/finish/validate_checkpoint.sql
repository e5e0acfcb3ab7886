-- validate_checkpoint returns what is wrong with the changes that checkpoint is to store; null if nothing is. Claims
-- and readers read what it stores.
create or replace function pawl.validate_checkpoint(changes jsonb) returns text
language sql immutable parallel safe as $$
  select case
    when jsonb_typeof(changes) is distinct from 'object' then 'it is no object'
    when changes - '{args,data,value,step,result,percent,message,attempts}'::text[] <> '{}'
      then 'want args, data, value, step, result, percent, message or attempts'
    when coalesce(jsonb_typeof(changes -> 'data'), 'string') <> all ('{string,null}') then 'data is no base64'
    when coalesce(jsonb_typeof(changes -> 'step'), 'string') <> 'string' then 'step is no string'
    when coalesce(jsonb_typeof(changes -> 'message'), 'string') <> 'string' then 'message is no string'
    when coalesce(changes ->> 'percent', '0') !~ '^(100|[0-9]{1,2})$' or changes -> 'percent' = 'null'
      then 'want percent from 0 to 100'
    when coalesce(changes ->> 'attempts', '0') !~ '^[0-9]{1,5}$' then 'want attempts from 0 to 32767'
    when pg_column_size(changes) > 6000 and octet_length(changes::text) > 134217728 then 'it is more than 128 MiB of JSON'
  end
$$;
