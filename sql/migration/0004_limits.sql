-- Limits of queues and channels over the whole cluster: how many run at once, and how many start in a time.

alter table pawl.queue
  add column max_running         integer,
  add column channel_max_running integer,
  add column rate                jsonb,               -- {n, per (seconds), burst}
  add column channel_rate        jsonb,
  add column weights             jsonb,               -- {channel: weight}
  add column limited             boolean not null generated always as (
    max_running is not null or channel_max_running is not null or rate is not null or channel_rate is not null) stored;

create index queue_limited on pawl.queue (name) where limited;

-- Who runs in limited queues: a row a running job, from its claim until its handler has ended. A named limit has queue '' and its name
-- as the channel.
create table pawl.permit (
  queue   text   not null collate "C",
  channel text   not null collate "C",
  job_id  bigint not null,
  lease   uuid   not null,
  primary key (queue, channel, job_id, lease)
) with (
  autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);

create index permit_job_id on pawl.permit (job_id);

-- What is left of a rate: tokens at a moment; they grow with time, up to the burst.
create table pawl.bucket (
  queue      text             not null collate "C",
  of_channel boolean          not null,
  channel    text             not null collate "C",
  tokens     double precision not null,
  at         timestamptz      not null,
  primary key (queue, of_channel, channel)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.05, vacuum_truncate = false);
