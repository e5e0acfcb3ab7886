-- stats: queue_stats as it was before it told of more, for the binaries of then.
create or replace function pawl.stats(most integer) returns table (
  queue text, reserved bigint, scheduled bigint, ready bigint, running bigint, dead bigint, estimated boolean,
  oldest_ready double precision, lag double precision
) language sql as $$
  select s.queue, s.reserved, s.scheduled, s.ready, s.running, s.dead, s.estimated, s.oldest_ready, s.lag from pawl.queue_stats(most) s
$$;
