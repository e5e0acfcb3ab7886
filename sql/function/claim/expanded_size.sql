-- expanded_size returns how many bytes the columns of a job may have when they are decompressed. It does not read
-- them: it multiplies their size on disk by what the compression can save at most.
create or replace function pawl.expanded_size(args jsonb, data bytea, checkpoint jsonb) returns bigint
language sql stable parallel safe as $$
  select coalesce(pg_column_size(args)::bigint
                  * case pg_column_compression(args) when 'pglz' then 90 when 'lz4' then 255 else 1 end, 0)
       + coalesce(pg_column_size(data)::bigint
                  * case pg_column_compression(data) when 'pglz' then 90 when 'lz4' then 255 else 1 end, 0)
       + coalesce(pg_column_size(checkpoint)::bigint
                  * case pg_column_compression(checkpoint) when 'pglz' then 90 when 'lz4' then 255 else 1 end, 0)
$$;
