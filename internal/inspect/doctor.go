package inspect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/sql"
)

// Thresholds are the values at which Doctor reports a problem.
type Thresholds struct {
	Overdue time.Duration // The age of a transaction, or of a ready job.
	Locked  time.Duration // The age of a lock on a whole table.
	Horizon int64         // The age in transactions of what holds back vacuum, if its age in time is unknown.
	Bloat   int64         // The size of a table or index, in bytes.
	Archive int64         // The size of the archive, in bytes.
}

// DefaultThresholds are the thresholds of Client.Doctor.
var DefaultThresholds = Thresholds{
	Overdue: 5 * time.Minute,
	Locked:  10 * time.Second,
	Horizon: 1_000_000,
	Bloat:   64 << 20,
	Archive: 50 << 30,
}

const (
	doctorLockTimeout      = "1s"
	doctorStatementTimeout = "10s"
)

// errNotInstalled ends Doctor's checks, because nothing else can be examined.
var errNotInstalled = errors.New("not installed")

// A check examines one subject for Doctor.
type check struct {
	name string
	run  func(context.Context) ([]Finding, error)
}

func (in *Installation) checks(limits Thresholds) []check {
	overdue := interval(limits.Overdue)
	return []check{
		in.queryCheck("lock", interval(limits.Locked)),
		{"schema", in.examineSchema},
		in.queryCheck("queue", overdue),
		in.queryCheck("halted-channel"),
		in.queryCheck("followup"),
		in.queryCheck("policy"),
		in.queryCheck("advisory-lock", interval(limits.Locked)),
		in.queryCheck("unprocessable"),
		in.queryCheck("overdue"),
		in.queryCheck("worker"),
		in.queryCheck("xmin", overdue, limits.Horizon),
		in.queryCheck("autovacuum"),
		in.queryCheck("dead", interval(3*limits.Overdue)),
		in.queryCheck("bloat", limits.Bloat),
		in.queryCheck("archive", limits.Archive),
		in.queryCheck("durability"),
		in.queryCheck("setting"),
		in.queryCheck("connection"),
		in.queryCheck("sequence"),
		in.queryCheck("wraparound"),
		in.queryCheck("privilege"),
		{"clock", in.examineClock},
		{"listen", in.CheckListen},
	}
}

// Doctor returns what slows, endangers or has stopped the installation. It changes nothing. A check that the server
// refuses, such as for lack of a privilege, becomes a finding.
func (in *Installation) Doctor(ctx context.Context, limits Thresholds) ([]Finding, error) {
	var findings []Finding
	var reasons []string
	refused := map[string][]string{} // By reason, the names of the checks that failed.
	for _, check := range in.checks(limits) {
		found, err := check.run(ctx)
		if reason, ok := refusal(ctx, err); ok {
			if refused[reason] == nil {
				reasons = append(reasons, reason)
			}
			refused[reason] = append(refused[reason], check.name)
			continue
		}
		findings = append(findings, found...)
		if errors.Is(err, errNotInstalled) {
			return findings, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", check.name, err)
		}
	}
	for _, reason := range reasons {
		findings = append(findings, Finding{
			Check:   "unseen",
			Problem: fmt.Sprintf("these checks could not run: %s: %s", strings.Join(refused[reason], ", "), reason),
			Remedy:  "fix the findings above; a role with pg_read_all_data and pg_read_all_stats can run all checks",
		})
	}
	return findings, nil
}

// refusal returns the server's message if it refused a statement. It reports false if the connection ended instead.
func refusal(ctx context.Context, err error) (reason string, ok bool) {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || ctx.Err() != nil || strings.HasPrefix(refused.Code, "57P") {
		return "", false
	}
	return refused.Message, true
}

// queryCheck is a check that is one statement, in sql/query/doctor. Each row of its result is a finding.
func (in *Installation) queryCheck(name string, args ...any) check {
	text := sql.Query("doctor/" + strings.ReplaceAll(name, "-", "_"))
	return check{name, func(ctx context.Context) (findings []Finding, err error) {
		err = in.read(ctx, doctorLockTimeout, func(tx Runner) error {
			err := tx.Query(ctx, "select set_config('statement_timeout', $1::text, true)",
				[]any{doctorStatementTimeout}, nil)
			if err != nil {
				return err
			}
			return tx.Query(ctx, text, args, func(row Row) error {
				f := Finding{Check: name}
				err := row.Scan(&f.Problem, &f.Remedy, &f.Fatal)
				findings = append(findings, f)
				return err
			})
		})
		return findings, err
	}}
}

// examineSchema reports differences of version, indexes, partitions and privileges in full, and the others in one
// finding that refers to Verify. It also reports changed settings of tables.
func (in *Installation) examineSchema(ctx context.Context) (findings []Finding, err error) {
	err = in.read(ctx, doctorLockTimeout, func(tx Runner) error {
		installed, err := in.compare(ctx, tx)
		switch {
		case err != nil:
			return err
		case installed.version == 0:
			findings = append(findings, in.missingSchema())
			return errNotInstalled
		case installed.version > in.Source.Version():
			findings = append(findings, in.newerSchema(installed.version))
		}
		for _, d := range installed.differences {
			if d.Kind == "setting" {
				findings = append(findings, in.changedSettings(d)...)
			}
		}
		faults, complete, err := in.structure(ctx, tx, installed)
		if err != nil {
			return err
		}
		if complete {
			partitions, err := in.partitions(ctx, tx)
			if err != nil {
				return err
			}
			faults = append(faults, partitions...)
		}
		findings = append(findings, summarize(faults)...)
		return nil
	})
	return findings, err
}

func (in *Installation) newerSchema(version int) Finding {
	return Finding{
		Check:   "schema",
		Problem: fmt.Sprintf("the schema is at version %d, newer than this binary's %d", version, in.Source.Version()),
		Remedy:  "expected during a rolling upgrade; after it, install the newer binary here too",
	}
}

// summarize returns the findings that Doctor reports in full, and one finding for all others.
func summarize(faults []fault) (findings []Finding) {
	var others []string
	for _, f := range faults {
		switch f.Check {
		case "schema", "index", "partition", "privilege":
			findings = append(findings, f.Finding)
		case "unseen":
		default:
			others = append(others, f.Problem)
		}
	}
	if len(others) > 0 {
		findings = append(findings, Finding{
			Check: "schema", Problem: abridge(others), Remedy: "pawl verify", Fatal: true,
		})
	}
	return findings
}
