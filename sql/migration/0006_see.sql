-- What it takes to find, change and count jobs. Each index is partial, or on what plain jobs never touch: their inserts pay nothing.

create index job_fingerprint on pawl.job (fingerprint, id) where fingerprint is not null;
create index job_unique_key on pawl.job (unique_key, id) where unique_key is not null;
create index parked_queue on pawl.parked (queue, expires_at);
create index dead_queue on pawl.dead (queue, id);

-- They return more, and take more, than they did.
drop function if exists pawl.beat(bigint, integer, bigint[], integer[]);
drop function if exists pawl.register(text, text, integer, text, text[], interval);
