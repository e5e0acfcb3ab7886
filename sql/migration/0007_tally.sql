-- What clients did lately, as they tell it every few seconds: a row a client and queue, so that no two processes write the same one.
-- Counts of the last seven slots of ten seconds, the newest first.
create table pawl.tally (
  client    uuid     not null,                         -- chosen by the process
  queue     text     not null collate "C",
  slot      bigint   not null,                         -- of the first count: the epoch in tens of seconds
  inserted  bigint[] not null,
  completed bigint[] not null,
  failed    bigint[] not null,                         -- attempts
  primary key (client, queue)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.1, vacuum_truncate = false);
