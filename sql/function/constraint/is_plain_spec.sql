-- is_plain_spec returns whether a job in the form that insert_constrained takes is certainly valid: it has only common
-- fields, of their types and in range. Of other jobs validate_constrained says what is wrong, if anything is. It takes
-- twenty times as long.
create or replace function pawl.is_plain_spec(spec jsonb) returns boolean language sql immutable parallel safe as $$
  select coalesce(
    jsonb_typeof(spec) = 'object'
    and spec - '{queue,channel,priority,kind,args,opts,ordered,key,replace,reschedule}'::text[] = '{}'
    and jsonb_typeof(spec -> 'kind') = 'string' and octet_length(spec ->> 'kind') between 1 and 255
    and (not spec ? 'queue' or jsonb_typeof(spec -> 'queue') = 'string'
         and octet_length(spec ->> 'queue') between 1 and 255)
    and (not spec ? 'channel' or jsonb_typeof(spec -> 'channel') = 'string'
         and octet_length(spec ->> 'channel') <= 255)
    and (not spec ? 'key' or jsonb_typeof(spec -> 'key') = 'string' and octet_length(spec ->> 'key') between 1 and 255)
    and (spec ? 'key' or not spec ?| '{replace,reschedule}')
    and coalesce(spec -> 'priority', '0') = '0'
    and coalesce(pg_column_size(spec -> 'args'), 0) <= 6000
    and coalesce(spec -> 'ordered', 'false') in ('true', 'false')
    and coalesce(spec -> 'replace', 'false') in ('true', 'false')
    and coalesce(spec -> 'reschedule', 'false') in ('true', 'false')
    and coalesce(spec -> 'opts' -> 'ordered', 'false') = coalesce(spec -> 'ordered', 'false')
    and (not spec ? 'opts' or jsonb_typeof(spec -> 'opts') = 'object'
         and (spec -> 'opts') - '{ordered,batch}'::text[] = '{}'
         and coalesce(spec -> 'opts' ->> 'batch', '1') ~ '^[1-9][0-9]{0,17}$'), false)
$$;
