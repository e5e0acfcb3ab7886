package migrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// lock returns the statement that takes the lock of a schema's migrators until the end of the transaction.
func lock(function, schema string) string {
	return fmt.Sprintf("select %s(hashtextextended('migrate %s', 0));", function, schema)
}

// name is the application_name of a transaction that has the lock of migrators. Any session could take that lock; this
// tells migrators, which may take hours, from others.
const name = "pawl migrate"

const begin = "begin isolation level read committed;\nset local application_name = '" + name + "';"

// limits are the time for a lock, and no other limit that the role or the database may have.
var limits = fmt.Sprintf("set local lock_timeout = '%dms'; set local statement_timeout = 0;"+
	" set local idle_in_transaction_session_timeout = 0; set local jit = off;"+
	" select set_config('transaction_timeout', '0', true) where current_setting('transaction_timeout', true) <> '0';",
	lockTimeout.Milliseconds())

// isLocked reports whether an error means that other sessions had the locks.
func isLocked(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (refused.Code == "55P03" || refused.Code == "40P01")
}

// blocker describes the session with a lock on the schema's tables whose transaction is the oldest, as far as this
// role may see.
func (s *Source) blocker(ctx context.Context, conn *pgx.Conn, schema string) string {
	var by string
	err := conn.QueryRow(ctx, `select format('process %s, user %s, whose transaction has been open for %s s',
			a.pid, a.usename, extract(epoch from clock_timestamp() - a.xact_start)::integer)
		from pg_locks l
		join pg_class c on c.oid = l.relation
		join pg_namespace n on n.oid = c.relnamespace
		join pg_stat_activity a on a.pid = l.pid
		where n.nspname = $1 and l.granted and l.pid <> pg_backend_pid()
		  and l.database = (select oid from pg_database where datname = current_database())
		order by a.xact_start limit 1`, once, schema).Scan(&by)
	if err != nil {
		return "a session that has ended"
	}
	return by
}

// foreignHolder describes the session that has the lock of migrators, or returns "" if that session is a migrator or has
// ended.
func (s *Source) foreignHolder(ctx context.Context, conn *pgx.Conn, schema string) string {
	var by string
	err := conn.QueryRow(ctx, `select format('session %s of %s (%s)', a.pid, a.usename,
			coalesce(nullif(a.application_name, ''), 'no application name'))
		from (select hashtextextended('migrate ' || $1::text, 0) as key) k
		join pg_locks l on l.classid::bigint = (k.key >> 32) & 4294967295 and l.objid::bigint = k.key & 4294967295
		join pg_stat_activity a on a.pid = l.pid
		where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and l.pid <> pg_backend_pid()
		  and l.database = (select oid from pg_database where datname = current_database())
		  and a.application_name is distinct from $2::text
		limit 1`, once, schema, name).Scan(&by)
	if err != nil {
		return ""
	}
	return by
}
