-- validate_columns returns what is wrong with jobs in the columns that insert takes; null if nothing is. The Go client
-- has checked them, but a producer can call insert, too. It looks at whole arrays, so that the common job costs
-- nothing; insert looks at the length of names.
create or replace function pawl.validate_columns(
  queues text[], kinds text[], delays double precision[], run_ats timestamptz[], attempts smallint[], opts text[]
) returns text language plpgsql stable parallel safe as $$
begin
  return case
    when '' = any (queues) or '' = any (kinds) then 'a queue or a kind is empty'
    when 0 > any (delays) or 31557600000 < any (delays) then 'want a delay of 0 seconds to 1,000 years'
    when 'infinity' = any (run_ats) or '-infinity' = any (run_ats) then 'a time is infinite'
    when 1 > any (attempts) then 'want attempts from 1 to 32767'
    when cardinality(array_remove(opts, null)) > 0 then (
      select o.reason
      from (select case when jsonb_typeof(u.opts::jsonb) <> 'object' then 'its opts are no object'
                        when u.opts::jsonb - '{headers,backoff}'::text[] <> '{}' then 'want opts of headers and backoff'
                        else pawl.validate_spec(jsonb_build_object('kind', 'any', 'opts', u.opts::jsonb)) end as reason
            from unnest(validate_columns.opts) as u (opts)
            where u.opts is not null) o
      where o.reason is not null
      limit 1)
  end;
end $$;
