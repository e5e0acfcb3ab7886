-- archive_source returns what to select from, as SQL, to find archived jobs that match a filter: the view archive, or
-- find_archived if the filter has ids.
create or replace function pawl.archive_source(filter jsonb) returns text language sql stable as $$
  select case when filter ? 'ids'
                then format('pawl.find_archived(%L)',
                            array(select i::bigint from jsonb_array_elements_text(filter -> 'ids') as i))
              else 'pawl.archive' end
$$;
