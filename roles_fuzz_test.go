package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// hostileSQL are arguments by type, as SQL. Those of an array are made of its element's.
var hostileSQL = map[string][]string{
	"bigint": {"null", "0", "-1", "1", "2", "3", "7", "20", "100", "2147483648", "9223372036854775807",
		"-9223372036854775808", "nextval('pawl.pos')"},
	"integer":  {"null", "0", "1", "-1", "2", "5", "1000", "2147483647", "-2147483648"},
	"smallint": {"null", "0", "1", "-1", "32767", "-32768"},
	"double precision": {"null", "0", "1", "-1", "0.001", "1e308", "-1e308", "'NaN'", "'infinity'", "'-infinity'",
		"1e12"},
	"boolean": {"null", "true", "false"},
	"text": {"null", "''", "'default'", "'fuzz'", "'note'", "'c'", "'*'", "'hourly'", "'retry'", "'dead'", "'cancel'",
		"'snooze'", "'release'", "'unprocessable'", "'ready'", "'{}'", "'[]'", "'{\"n\": 1}'", "'5'", "'1e200000'",
		"repeat('x', 255)", "repeat('x', 300)", "repeat('x', 10000)", "'💥'", "E'a\\tb\\nc'", "'\";drop table x;--'"},
	"jsonb": {"null", "'null'", "'5'", "'\"x\"'", "'[]'", "'{}'", "'[1, null, {}]'", "'{\"a\": {\"b\": [1e300]}}'",
		"'[{\"kind\": \"note\"}]'", "'[{\"kind\": \"note\", \"ordered\": true, \"channel\": \"c\"}]'",
		"(select jsonb_agg(i) from generate_series(1, 20000) i)", "to_jsonb(repeat('x', 100000))"},
	"uuid":     {"null", "gen_random_uuid()", "'00000000-0000-0000-0000-000000000000'"},
	"interval": {"null", "'0'", "'-1 day'", "'1 second'", "'100 years'", "'-100 years'", "'170000 years'"},
	"timestamp with time zone": {"null", "now()", "'infinity'", "'-infinity'", "'294276-01-01'", "'4713-01-01 BC'",
		"now() + interval '1 hour'", "now() - interval '1 hour'"},
	"date":  {"null", "current_date", "'infinity'", "'-infinity'", "'5874897-12-31'", "'4713-01-01 BC'"},
	"bytea": {"null", "''", "'\\x00ff'"},
}

// friendly are arguments with which a function does something, by its name and types; nil is any. The fuzzer changes
// some of them. $id, $epoch and $lease are those of a claimed job.
var friendly = map[string][]string{
	"insert(text, jsonb, jsonb)": {"'note'", "'{\"n\": 1}'", "$opts"},
	"insert(text[], text[], smallint[], text[], text[], bytea[], double precision[], timestamp with time zone[], " +
		"smallint[], text[], text[])": {
		"array['fuzz']", "array['']", "array[0]::smallint[]", "array['note']", "array['{\"n\": 1}']", "array[null]::bytea[]",
		"array[null]::float8[]", "array[null]::timestamptz[]", "array[null]::smallint[]", "array[null]", "array[null]"},
	"insert_many(jsonb)":        {"jsonb_build_array(jsonb_build_object('kind', 'note', 'opts', $opts))"},
	"insert_constrained(jsonb)": {"jsonb_build_array($spec, $spec)"},
	"insert_batch(bigint, jsonb, jsonb, jsonb)": {"nextval('pawl.pos')", "jsonb_build_array($spec)", "null",
		"jsonb_build_array($spec)"},
	"report_counters(uuid, text[], bigint[], bigint[], bigint[])": {
		"gen_random_uuid()", "array['fuzz']", "array[1]", "array[1]", "array[1]"},
	"register_worker(text, text, integer, text, text[], interval, text)": {
		"'w'", "'h'", "1", "'v'", "null", "'9 seconds'", "'ready'"},
	"heartbeat(bigint, integer, bigint[], integer[])": {"1", "1", "array[$id]", "array[$epoch]"},
	"checkpoint(bigint, integer, jsonb)":              {"$id", "$epoch", "$changes"},
	"complete(bigint[], integer[], bigint[], bigint[], text[], text, bigint[], uuid[])": {
		"array[$id]", "array[$epoch]", "array[1]", "array[1]", "array['1']", "'w'", "'{}'", "'{}'"},
	"complete(bigint, integer, jsonb)": {"$id", "$epoch", "'1'"},
	"fail(bigint[], integer[], text[], double precision[], text[], text[], bigint[], bigint[], text)": {
		"array[$id]", "array[$epoch]", "array['retry']", "array[0]", "array[null]", "array['{\"error\": \"x\"}']",
		"array[1]", "array[1]", "'w'"},
	"fail(bigint, integer, text, double precision, text)": {"$id", "$epoch", "'x'", "0", "'retry'"},
	"release(bigint, integer, double precision)":          {"$id", "$epoch", "0"},
	"extend(bigint[], integer[], uuid[], uuid, interval)": {"array[$id]", "array[$epoch]", "array[$lease]",
		"gen_random_uuid()", "'1 minute'"},
	"extend(bigint, integer, uuid, interval)":        {"$id", "$epoch", "$lease", "'1 minute'"},
	"acquire_permits(text[], integer, bigint, uuid)": {"array['k']", "1", "$id", "$lease"},
	"remove_claimed(bigint[], integer[], boolean)":   {"array[$id]", "array[$epoch]", "true"},
	"unclaim(uuid)": {"$lease"},
	"tick_cron(text, timestamp with time zone, timestamp with time zone)": {"'hourly'", "now()",
		"now() + interval '1 hour'"},
	"claim(text, integer, interval)": {"'fuzz'", "3", "'1 minute'"},
	"claim(uuid, bigint, interval, integer, text[], integer[], text[], bigint[], bigint[], integer[])": {
		"gen_random_uuid()", "null", "'1 minute'", "3", "array['fuzz']", "array[0]", "array['']", "array[0]",
		"array[9223372036854775807]", "array[3]"},
	"run_followups(integer)":       {"100"},
	"make_partitions(integer)":     {"7"},
	"list(jsonb, bigint, integer)": {"'{}'", "null", "10"},
}

// A fuzzer calls functions as roles.
type fuzzer struct {
	*realm
	rand  *rand.Rand
	pools map[string]*pgxpool.Pool
	calls map[string][]fuzzed // By role.
	made  []string            // The last calls.
	well  map[string]int      // The number of calls that returned no error, by function.

	ids    []int64
	epochs []int32
	leases []string
}

// A fuzzed is a function to call.
type fuzzed struct {
	name, signature string
	types           []string
}

// No call by a role, whatever its arguments, makes the call of another role fail after its transaction has ended. Each
// round makes random calls with hostile arguments. Then the work of all roles must go on: a runner of the worker's role
// runs plain, ordered, unique and batch jobs that a producer inserts, and ticks of crons; a reader reads; Verify finds
// nothing. PAWL_ROLES_RUNS rounds are made, from PAWL_ROLES_SEED.
func TestHostileCallsOfRoles(t *testing.T) {
	t.Parallel()
	seed, rounds := time.Now().UnixNano()%1_000_000, int64(4)
	for name, number := range map[string]*int64{"PAWL_ROLES_SEED": &seed, "PAWL_ROLES_RUNS": &rounds} {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			must(t, err)
			*number = n
		}
	}
	t.Logf("PAWL_ROLES_SEED=%d PAWL_ROLES_RUNS=%d", seed, rounds)
	f := &fuzzer{realm: installRoles(t), rand: rand.New(rand.NewPCG(uint64(seed), 1)), pools: map[string]*pgxpool.Pool{},
		calls: map[string][]fuzzed{}, well: map[string]int{}}
	must(t, f.client.PutCron(t.Context(), pawl.Cron{Name: "hourly", Spec: "@hourly", Job: pawl.JobSpec{Args: Note{1}}}))
	for _, kind := range kinds[:3] {
		_, f.pools[kind] = f.as(kind)
		f.find(kind)
	}
	worker := f.of(pgtest.Pool(t, f.url, func(c *pgxpool.Config) {
		c.MaxConns, c.ConnConfig.User = 4, f.schema+"_user_worker"
	}))
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	start(t, worker, mux, pawl.RunnerConfig{PollInterval: 50 * time.Millisecond, Queues: map[string]pawl.RunnerQueue{
		"default": {}, "work": {}}})
	for round := range rounds {
		f.made = nil
		for range 60 {
			f.call(kinds[f.rand.IntN(3)])
		}
		f.workGoesOn(int(round))
		if t.Failed() {
			t.Fatalf("after these calls:\n%s", strings.Join(f.made, "\n"))
		}
	}
	t.Logf("calls without an error: %v", f.well)
	if len(f.well) < 20 {
		t.Error("few calls did something: the test shows little")
	}
}

// find finds the functions that a role may call.
func (f *fuzzer) find(kind string) {
	rows, _ := f.pool.Query(f.t.Context(), `select p.proname::text, array(select format_type(u.oid, null)
			from unnest(p.proargtypes) with ordinality as u (oid, ord) order by u.ord)
		from pg_proc p where p.pronamespace = $1::text::regnamespace
		  and has_function_privilege($1 || '_user_' || $2::text, p.oid, 'execute') order by 1, 2`, f.schema, kind)
	var name string
	var types []string
	_, err := pgx.ForEachRow(rows, []any{&name, &types}, func() error {
		f.calls[kind] = append(f.calls[kind], fuzzed{name, name + "(" + strings.Join(types, ", ") + ")", slices.Clone(types)})
		return nil
	})
	must(f.t, err)
	if len(f.calls[kind]) < 8 {
		f.t.Fatalf("%s may call only %v", kind, f.calls[kind])
	}
}

func oneOf[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// argument returns a hostile argument of a type.
func (f *fuzzer) argument(of string) string {
	element, array := strings.CutSuffix(of, "[]")
	if !array {
		return fmt.Sprintf("(%s)::%s", oneOf(f.rand, hostileSQL[of]), of)
	}
	switch n := f.rand.IntN(8); n {
	case 0:
		return "null::" + of
	case 1:
		return "'{}'::" + of
	case 2:
		return fmt.Sprintf("array[array[%s], array[%s]]::%s", f.argument(element), f.argument(element), of)
	case 3:
		return fmt.Sprintf("array_fill(%s, array[%d])", f.argument(element), 1+f.rand.IntN(2000))
	default:
		var list []string
		for range n - 3 {
			list = append(list, f.argument(element))
		}
		return fmt.Sprintf("array[%s]::%s", strings.Join(list, ", "), of)
	}
}

// object returns a JSON object with some of the fields, each with one of its values. The first value of a field is
// valid.
func (f *fuzzer) object(fields map[string][]string) string {
	var list []string
	tame := f.rand.IntN(2) == 0
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name == "kind" || f.rand.IntN(4) == 0 {
			value := oneOf(f.rand, fields[name])
			if tame && len(list) > 3 {
				break
			} else if tame {
				value = fields[name][0]
			} else if f.rand.IntN(12) == 0 {
				value = oneOf(f.rand, []string{"null", "-1", "1e300", "\"\"", "\"x\"", "[]", "{}", "true", "1.5", "[null]"})
			}
			list = append(list, fmt.Sprintf("%q: %s", name, value))
		}
	}
	return "'{" + strings.Join(list, ", ") + "}'::jsonb"
}

var long = `"` + strings.Repeat("y", 256) + `"`

var optsFields = map[string][]string{
	"queue": {`"fuzz"`, `"default"`, `""`, long}, "channel": {`"c"`, `"d"`, long}, "priority": {"0", "5", "-40000"},
	"delay": {"0", "0.01", "1e9", "1e12"}, "run_at": {`"now"`, `"infinity"`, `"-infinity"`, `"2030-01-01"`},
	"max_attempts": {"1", "0", "40000"}, "fingerprint": {`"f"`, long}, "headers": {`{"a": "b"}`, `{"a": 1}`},
	"data": {`"AAAA"`, `"§"`}, "ordered": {"true", "false"},
	"backoff": {`{"base": 1}`, `{"base": 1e400}`, `{"growth": -1}`, `{"power": 1e9}`},
	"unique": {`{"key": "k"}`, `{"key": "k", "replace": true}`, `{"key": "l", "period": 1e300}`,
		`{"key": "m", "until_start": true, "reschedule": true}`},
	"reserve": {"1", "0", "1e300"}, "attempt": {"1", "32766", "32767"},
	"after": {`[{"id": 1}]`, `[{"id": 999999999999}]`, `[{"id": 2, "on": "any", "keep_waiting": true}]`, `[5]`},
}

var specFields = map[string][]string{
	"kind": {`"note"`, `"note"`, `"note"`, `""`, long}, "args": {`{"n": 1}`, `{"n": 1e131000}`},
	"attempts": {"3", "-3", "99999"},
	"opts": {`{"ordered": true}`, `{"batch": 1}`, `{"batch": "x"}`, `{"headers": 5}`, `{"backoff": {"base": "x"}}`, "[]",
		`{"until_start": true}`, `{"what": 1}`},
	"key": {`"k"`, `"n"`, long}, "period": {"1", "-1", "1e300"}, "replace": {"true"}, "reschedule": {"true"},
	"errors": {`[{"attempt": 1, "error": "x"}]`, `[5]`, `{}`, `[{"at": "never"}]`},
}

// goodSpecs are jobs with constraints that can be inserted.
var goodSpecs = []string{
	`'{"kind": "note", "queue": "fuzz", "channel": "c", "ordered": true, "opts": {"ordered": true}}'::jsonb`,
	`'{"kind": "note", "queue": "fuzz", "key": "k", "replace": true, "args": {"n": 1}}'::jsonb`,
	`'{"kind": "note", "queue": "fuzz", "after": [{"id": 1, "on": "any"},
		{"id": 2, "on": "not_ok", "keep_waiting": true}]}'::jsonb`,
	`'{"kind": "note", "queue": "fuzz", "errors": [{"attempt": 1, "error": "x"}], "attempt": 1, "delay": 0.01}'::jsonb`,
}

var changesFields = map[string][]string{
	"args": {`{"n": 2}`, "null"}, "data": {`"AAAA"`, `"§"`, "5"}, "value": {"5", "null"}, "step": {`"s"`, "5"},
	"result":  {"1"},
	"percent": {"5", "500", `"x"`}, "message": {`"m"`, "5"}, "attempts": {"1", "-100", "1e9"}, "what": {"1"},
}

// call makes one call, in a transaction that is committed or rolled back.
func (f *fuzzer) call(kind string) {
	fn := oneOf(f.rand, f.calls[kind])
	if f.rand.IntN(2) == 0 { // Half of the calls are such that store something.
		for friendly[fn.signature] == nil {
			if fn = oneOf(f.rand, f.calls[kind]); kind == "reader" {
				break
			}
		}
	}
	arguments := slices.Clone(friendly[fn.signature])
	if arguments == nil {
		for _, of := range fn.types {
			arguments = append(arguments, f.argument(of))
		}
	} else {
		for range f.rand.IntN(3) {
			i := f.rand.IntN(len(arguments))
			arguments[i] = f.argument(fn.types[i])
		}
	}
	text := fmt.Sprintf("select count(*) from pawl.%s(%s) x", fn.name, strings.Join(arguments, ", "))
	for strings.Contains(text, "$") {
		i := 0
		if len(f.ids) > 0 {
			i = max(len(f.ids)-1-f.rand.IntN(6), 0)
		} else {
			f.ids, f.epochs, f.leases = []int64{1}, []int32{1}, []string{"00000000-0000-0000-0000-000000000001"}
		}
		spec := map[string][]string{}
		for _, fields := range []map[string][]string{optsFields, specFields} {
			for name, values := range fields {
				spec[name] = values
			}
		}
		for _, name := range []string{"unique", "max_attempts", "headers", "backoff"} {
			delete(spec, name)
		}
		text = strings.NewReplacer("$id", fmt.Sprint(f.ids[i]), "$epoch", fmt.Sprint(f.epochs[i]), "$lease",
			"'"+f.leases[i]+"'::uuid").Replace(text)
		text = strings.Replace(text, "$opts", f.object(optsFields), 1)
		text = strings.Replace(text, "$spec", oneOf(f.rand, append(slices.Clone(goodSpecs), f.object(spec))), 1)
		text = strings.Replace(text, "$changes", f.object(changesFields), 1)
	}
	text = f.in(text)
	err := pgx.BeginFunc(f.t.Context(), f.pools[kind], func(tx pgx.Tx) error {
		if _, err := tx.Exec(f.t.Context(), "set local statement_timeout = '3s'"); err != nil {
			return err
		}
		if strings.Contains(fn.signature, "claim(text") {
			return f.claim(tx)
		}
		var n int64
		if err := tx.QueryRow(f.t.Context(), text, pgx.QueryExecModeExec).Scan(&n); err != nil {
			return err
		}
		if f.rand.IntN(6) == 0 {
			return errBoom
		}
		return nil
	})
	if _, ok := errors.AsType[*pgconn.PgError](err); err != nil && !ok && !errors.Is(err, errBoom) {
		f.t.Errorf("%s: %s: %v", kind, text, err)
	}
	if err == nil || errors.Is(err, errBoom) {
		f.well[fn.name]++
	}
	if len(text) > 600 {
		text = text[:600] + "…"
	}
	f.made = append(f.made, fmt.Sprintf("%s: %s -- %v", kind, text, err))
}

// claim claims jobs to have something to finish.
func (f *fuzzer) claim(tx pgx.Tx) error {
	queue := oneOf(f.rand, []string{"fuzz", "default"})
	rows, _ := tx.Query(f.t.Context(), f.in("select id, epoch, lease::text from pawl.claim($1, 3, '1 minute')"), queue)
	var id int64
	var epoch int32
	var lease string
	_, err := pgx.ForEachRow(rows, []any{&id, &epoch, &lease}, func() error {
		f.ids, f.epochs, f.leases = append(f.ids, id), append(f.epochs, epoch), append(f.leases, lease)
		return nil
	})
	return err
}

// workGoesOn checks that every role's ordinary work is done.
func (f *fuzzer) workGoesOn(round int) {
	t, ctx := f.t, f.t.Context()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	producer := f.of(f.pools["producer"])
	job := func(change func(*pawl.JobSpec)) pawl.JobSpec {
		spec := pawl.JobSpec{Args: Note{round}, Queue: "work"}
		change(&spec)
		return spec
	}
	channel := fmt.Sprint("work ", round)
	var ids []int64
	for _, spec := range []pawl.JobSpec{
		job(func(*pawl.JobSpec) {}),
		job(func(s *pawl.JobSpec) { s.Ordered, s.Channel = true, channel }),
		job(func(s *pawl.JobSpec) { s.Ordered, s.Channel = true, channel }),
		job(func(s *pawl.JobSpec) { s.Unique.Key = channel }),
	} {
		result, err := producer.Insert(ctx, spec)
		check("insert", err)
		ids = append(ids, int64(result.ID))
	}
	callback := job(func(s *pawl.JobSpec) { s.Ordered, s.Channel = true, channel })
	batch, err := producer.InsertBatch(ctx, pawl.BatchSpec{
		Jobs: []pawl.JobSpec{job(func(*pawl.JobSpec) {}), job(func(*pawl.JobSpec) {})}, OnFinish: &callback,
	})
	check("insert batch", err)
	exec(t, f.pool, f.in("update pawl.cron set next_at = least(next_at, clock_timestamp()) where name = 'hourly'"))
	last := value[*time.Time](t, f.pool, f.in("select last_at from pawl.cron"))
	await := func(what, text string, args ...any) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !value[bool](t, f.pool, f.in(text), args...); {
			if time.Now().After(deadline) {
				t.Errorf("%s: not done after 20 s", what)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	await("jobs", "select count(*) = $2 from pawl.archive where id = any ($1)", ids, len(ids))
	await("batch", "select count(*) = 3 from pawl.archive where (opts ->> 'batch')::bigint = $1::bigint "+
		"or opts -> 'headers' ->> 'batch' = $1::bigint::text", int64(batch))
	await("cron", "select last_at is distinct from $1 from pawl.cron", last)

	worker := f.pools["worker"]
	for _, call := range []string{"rescue(100, true, true)", "run_followups(500)", "expire(100)", "drop_stale_permits()",
		"prune_mutexes(1000)", "make_partitions(7)", "apply_retention(100)", "due_cron('{}', '{}', '{}')",
		"promote(array['fuzz', 'default'], array['-infinity', '-infinity']::timestamptz[], 100)",
		"peek(array['fuzz', 'default'])"} {
		_, err := worker.Exec(ctx, f.in("select * from pawl."+call))
		check(call, err)
	}
	reader := f.of(f.pools["reader"])
	_, err = reader.Stats(ctx)
	check("stats", err)
	_, err = reader.Queues(ctx)
	check("queues", err)
	_, err = reader.Crons(ctx)
	check("crons", err)
	_, err = reader.Workers(ctx)
	check("workers", err)
	_, err = reader.Channels(ctx, "fuzz")
	check("channels", err)
	_, err = reader.List(ctx, pawl.Filter{})
	check("list", err)
	_, err = reader.Count(ctx, pawl.Filter{})
	check("count", err)
	for _, row := range values[string](t, f.pools["reader"], f.in("select v::text from pawl.verify() v")) {
		t.Errorf("verify: %s", row)
	}
	claimer := f.of(worker)
	for _, queue := range []string{"fuzz", "default"} {
		jobs, err := claimer.Claim(ctx, queue, 5, time.Minute)
		check("claim of "+queue, err)
		check("complete", claimer.Complete(ctx, jobs))
	}
}
