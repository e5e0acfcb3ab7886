package pawl_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"go/ast"
	"go/types"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// findCallbacks returns the names of all places in the public API where code of the user comes in: functions and
// interfaces in exported fields and as parameters of exported functions and methods, and the methods of the interfaces
// that users implement.
func findCallbacks(t *testing.T) []string {
	t.Helper()
	root := loadRoot(t).Types
	found := map[string]bool{}
	for _, name := range root.Scope().Names() {
		object := root.Scope().Lookup(name)
		if !ast.IsExported(name) {
			continue
		}
		switch object := object.(type) {
		case *types.Func:
			addParameters(found, root, name, object.Signature())
		case *types.TypeName:
			addMembers(found, root, name, object.Type())
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// setByPawl is a field that has an error of Pawl's own.
const setByPawl = "JobInfo.Unreadable"

// addMembers adds the callbacks among the exported fields and methods of a type.
func addMembers(found map[string]bool, root *types.Package, name string, typ types.Type) {
	switch underlying := typ.Underlying().(type) {
	case *types.Struct:
		for i := range underlying.NumFields() {
			f := underlying.Field(i)
			if f.Exported() && isUsersCode(root, f.Type()) && name+"."+f.Name() != setByPawl {
				found[name+"."+f.Name()] = true
			}
		}
	case *types.Interface:
		for i := range underlying.NumMethods() {
			if m := underlying.Method(i); m.Exported() {
				found[name+"."+m.Name()] = true
			}
		}
		return
	}
	methods := types.NewMethodSet(types.NewPointer(typ))
	for i := range methods.Len() {
		m, ok := methods.At(i).Obj().(*types.Func)
		if ok && m.Exported() && m.Pkg() == root {
			addParameters(found, root, name+"."+m.Name(), m.Signature())
		}
	}
}

// addParameters adds the callbacks among the parameters of a function.
func addParameters(found map[string]bool, root *types.Package, name string, signature *types.Signature) {
	for i := range signature.Params().Len() {
		if p := signature.Params().At(i); isUsersCode(root, p.Type()) {
			found[name+"("+p.Name()+")"] = true
		}
	}
}

// isUsersCode reports whether a value of a type may run code of the user: it is a function, an interface, a logger, or
// a slice of those. A context is none, because only its values are read. Interfaces that users cannot implement are
// none.
func isUsersCode(root *types.Package, typ types.Type) bool {
	switch typ := typ.(type) {
	case *types.Pointer:
		return typ.Elem().String() == "log/slog.Logger"
	case *types.Slice:
		return isUsersCode(root, typ.Elem())
	case *types.TypeParam:
		return isUsersCode(root, typ.Constraint())
	}
	switch underlying := typ.Underlying().(type) {
	case *types.Signature:
		return true
	case *types.Interface:
		for i := range underlying.NumMethods() {
			if m := underlying.Method(i); !m.Exported() && m.Pkg() == root {
				return false
			}
		}
		return typ.String() != "context.Context"
	}
	return false
}

// A callbackTest is a client, a runner and a mux in which one callback misbehaves for one job.
type callbackTest struct {
	bad    func(context.Context) error // What the callback does instead. Its context may be nil.
	client *pawl.Client                // Set before the runner starts.
	config *pawl.Config
	runner *pawl.RunnerConfig
	kind   *pawl.KindOptions
	mux    *pawl.Mux
	hurt   pawl.Args                                    // The job that is to suffer. It defaults to Note{1}.
	handle func(context.Context, *pawl.Job[Note]) error // The handler of Note{1}. If nil, it returns nil.

	becomes pawlstate.State // What the job is to become.
	cancel  <-chan struct{} // If not nil, the job is cancelled after a value.
	over    func()          // If not nil, it ends callbacks that block.
}

// A callback is a place of the public API where code of the user runs.
type callback struct {
	set    func(*callbackTest)
	setNil func(*callbackTest) // Makes it a nil pointer or function. If nil, that is refused or means that there is none.
	errors bool                // It returns an error, which may be a wrong one.

	as      string          // The case that covers it.
	becomes pawlstate.State // What the job becomes. If empty, it is dead: its attempt has failed.
	cancel  bool            // No timeout ends the callback, so an operator cancels the job if it blocks.
}

// inHandler is a callback that a handler calls by way of a function of Pawl, in its own goroutine.
func inHandler(errors bool, handle func(c *callbackTest, ctx context.Context, job *pawl.Job[Note]) error) callback {
	return callback{errors: errors, set: func(c *callbackTest) {
		c.handle = func(ctx context.Context, job *pawl.Job[Note]) error { return handle(c, ctx, job) }
	}}
}

// orNil adds what happens if the callback is a nil pointer or function.
func (cb callback) orNil(handle func(c *callbackTest, ctx context.Context, job *pawl.Job[Note]) error) callback {
	cb.setNil = inHandler(false, handle).set
	return cb
}

// returned is an error that a handler makes with a function of Pawl, and whose methods misbehave.
func returned(wrap func(error) error) callback {
	return inHandler(false, func(c *callbackTest, _ context.Context, _ *pawl.Job[Note]) error {
		return wrap(badError{c.bad})
	}).orNil(func(*callbackTest, context.Context, *pawl.Job[Note]) error {
		var nothing *nilError
		return wrap(nothing)
	})
}

// insertsOn is a database handle that misbehaves. A handler inserts on it.
func insertsOn(with func(*pawl.Client, *callbackTest) *pawl.Client, null func(*pawl.Client) *pawl.Client) callback {
	return inHandler(true, func(c *callbackTest, ctx context.Context, _ *pawl.Job[Note]) error {
		_, err := with(c.client, c).Insert(ctx, Note{2})
		return err
	}).orNil(func(c *callbackTest, ctx context.Context, _ *pawl.Job[Note]) error {
		_, err := null(c.client).Insert(ctx, Note{2})
		return err
	})
}

// failing has the handler of the job return an error.
func (c *callbackTest) failing() {
	c.handle = func(context.Context, *pawl.Job[Note]) error { return errBoom }
}

// inserting has the handler of the job insert another one.
func (c *callbackTest) inserting() {
	c.handle = func(ctx context.Context, _ *pawl.Job[Note]) error {
		_, err := c.client.Insert(ctx, Note{insertedNote})
		return err
	}
}

// insertedNote is the N of a job that a handler inserts.
const insertedNote = 77

// around is middleware that misbehaves.
func (c *callbackTest) around(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
	if wrongJob(job) {
		return c.bad(ctx)
	}
	return next(ctx)
}

// soonOver is the timeout of the handlers in these tests.
const soonOver = 300 * time.Millisecond

var onPgx = insertsOn(
	func(client *pawl.Client, c *callbackTest) *pawl.Client { return client.With(badDB{c.bad}) },
	func(client *pawl.Client) *pawl.Client { return client.With((*pgxpool.Pool)(nil)) },
)

var onSQL = insertsOn(
	func(client *pawl.Client, c *callbackTest) *pawl.Client { return client.WithSQL(badSQLDB{c.bad}) },
	func(client *pawl.Client) *pawl.Client { return client.WithSQL((*sql.DB)(nil)) },
)

// callbacks are all callbacks of the public API. TestEveryCallbackHasACase finds one that is missing.
var callbacks = map[string]callback{
	"Handle(handle)": {
		errors: true,
		set: func(c *callbackTest) {
			c.handle = func(ctx context.Context, _ *pawl.Job[Note]) error { return c.bad(ctx) }
		},
		setNil: func(c *callbackTest) {
			pawl.Handle[pawl.RawArgs](c.mux, nil, pawl.KindOptions{Kind: "nil"})
			c.hurt = pawl.Raw("nil", nil)
		},
	},
	"HandleResult(handle)": {
		errors: true,
		set: func(c *callbackTest) {
			pawl.HandleResult(c.mux, func(ctx context.Context, _ *pawl.Job[pawl.RawArgs]) (int, error) {
				return 0, c.bad(ctx)
			}, pawl.KindOptions{Kind: "result", Timeout: soonOver})
			c.hurt = pawl.Raw("result", nil)
		},
		setNil: func(c *callbackTest) {
			pawl.HandleResult[pawl.RawArgs, int](c.mux, nil, pawl.KindOptions{Kind: "result"})
			c.hurt = pawl.Raw("result", nil)
		},
	},
	"HandleChunk(handle)": {
		errors: true,
		set: func(c *callbackTest) {
			pawl.HandleChunk(c.mux, func(ctx context.Context, _ []*pawl.Job[pawl.RawArgs]) error {
				return c.bad(ctx)
			}, pawl.KindOptions{Kind: "chunk", Timeout: soonOver})
			c.hurt = pawl.Raw("chunk", nil)
		},
		setNil: func(c *callbackTest) {
			pawl.HandleChunk[pawl.RawArgs](c.mux, nil, pawl.KindOptions{Kind: "chunk"})
			c.hurt = pawl.Raw("chunk", nil)
		},
	},
	"Mux.Use(middleware)": {errors: true, set: func(c *callbackTest) { c.mux.Use(c.around) }},
	"KindOptions.Use": {
		errors: true,
		set:    func(c *callbackTest) { c.kind.Use = append(c.kind.Use, c.around) },
		setNil: func(c *callbackTest) {
			pawl.Handle(c.mux, func(context.Context, *pawl.Job[pawl.RawArgs]) error { return nil },
				pawl.KindOptions{Kind: "nil", Use: []pawl.Middleware{nil}})
			c.hurt = pawl.Raw("nil", nil)
		},
	},
	"KindOptions.Permit": {errors: true, cancel: true, set: func(c *callbackTest) {
		c.kind.Permit = func(ctx context.Context, job *pawl.JobInfo) (func(), error) {
			if wrongJob(job) {
				return nil, c.bad(ctx)
			}
			return nil, nil
		}
	}},
	"KindOptions.Permit, what it returns": {set: func(c *callbackTest) {
		c.kind.Permit = func(_ context.Context, job *pawl.JobInfo) (func(), error) {
			return func() {
				if wrongJob(job) {
					c.bad(nil)
				}
			}, nil
		}
	}},
	"KindOptions.Delay": {set: func(c *callbackTest) {
		c.kind.Delay = func(*pawl.JobInfo, error) time.Duration { c.bad(nil); return 0 }
		c.failing()
	}},
	"RunnerConfig.OnFailure": {set: func(c *callbackTest) {
		c.runner.OnFailure = func(ctx context.Context, _ *pawl.JobInfo, _ error, _ bool) { c.bad(ctx) }
		c.failing()
	}},
	"RunnerConfig.OnStuck": {set: func(c *callbackTest) {
		c.runner.OnStuck = func(ctx context.Context, _ *pawl.JobInfo, _ error, _ string) { c.bad(ctx) }
		c.handle = func(ctx context.Context, _ *pawl.Job[Note]) error {
			<-ctx.Done()
			time.Sleep(5 * soonStuckAfter)
			return nil
		}
	}},
	"Config.OnClaim": {becomes: pawlstate.Completed, set: func(c *callbackTest) {
		c.config.OnClaim = func(ctx context.Context, _ pawl.Jobs, _ time.Duration, _ error) { c.bad(ctx) }
	}},
	"Config.Logger": {set: func(c *callbackTest) {
		c.config.Logger = slog.New(badHandler{c.bad})
		c.failing()
	}},
	"Config.Codec": {as: "Codec.Decode"},
	"Codec.Decode": {errors: true, cancel: true, set: func(c *callbackTest) { c.config.Codec = badCodec{decode: c.bad} }},
	"Codec.Encode": {errors: true, set: func(c *callbackTest) {
		c.config.Codec = badCodec{encode: c.bad}
		c.inserting()
	}},
	"Config.InsertMiddleware": {errors: true, set: func(c *callbackTest) {
		c.config.InsertMiddleware = append(c.config.InsertMiddleware,
			func(ctx context.Context, jobs []pawl.JobSpec, next func(context.Context) error) error {
				if jobs[0].Args == (Note{insertedNote}) {
					return c.bad(ctx)
				}
				return next(ctx)
			})
		c.inserting()
	}},
	"Args.Kind": inHandler(false, func(c *callbackTest, ctx context.Context, _ *pawl.Job[Note]) error {
		if _, err := c.client.Insert(ctx, badArgs{kind: c.bad}); err != nil {
			return err
		}
		return errBoom // Kind returned.
	}),
	"Client.Insert(job)": inHandler(true, func(c *callbackTest, ctx context.Context, _ *pawl.Job[Note]) error {
		_, err := c.client.Insert(ctx, badArgs{marshal: c.bad})
		return err
	}).orNil(func(c *callbackTest, ctx context.Context, _ *pawl.Job[Note]) error {
		_, err := c.client.Insert(ctx, (*Note)(nil))
		return err
	}),
	"JobSpec.Args": inHandler(true, func(c *callbackTest, ctx context.Context, _ *pawl.Job[Note]) error {
		_, err := c.client.InsertMany(ctx, []pawl.JobSpec{{Args: badArgs{marshal: c.bad}}})
		return err
	}).orNil(func(c *callbackTest, ctx context.Context, _ *pawl.Job[Note]) error {
		_, err := c.client.InsertMany(ctx, []pawl.JobSpec{{Args: (*Note)(nil)}})
		return err
	}),
	"JobUpdate.Args": inHandler(true, func(c *callbackTest, ctx context.Context, _ *pawl.Job[Note]) error {
		_, err := c.client.Update(ctx, pawl.ID(1<<40), pawl.JobUpdate{Args: badArgs{marshal: c.bad}})
		return err
	}),
	"Checkpoint.Args": inHandler(true, func(c *callbackTest, ctx context.Context, job *pawl.Job[Note]) error {
		return c.client.Checkpoint(ctx, job, pawl.Checkpoint{Args: badArgs{marshal: c.bad}})
	}),
	"Checkpoint.Value": inHandler(true, func(c *callbackTest, ctx context.Context, job *pawl.Job[Note]) error {
		return c.client.Checkpoint(ctx, job, pawl.Checkpoint{Value: badArgs{marshal: c.bad}})
	}),
	"Job.Args": {errors: true, cancel: true, set: func(c *callbackTest) {
		pawl.Handle(c.mux, func(context.Context, *pawl.Job[badArgs]) error { return errBoom },
			pawl.KindOptions{Kind: "decoded"})
		text := fmt.Sprintf(`{"of": %q}`, rand.Text()) // Tests run at once.
		c.hurt = pawl.Raw("decoded", []byte(text))
		badDecoding.Store(text, c.bad)
	}},
	"Step(do)": inHandler(true, func(c *callbackTest, ctx context.Context, _ *pawl.Job[Note]) error {
		_, err := pawl.Step(ctx, "step", func(ctx context.Context) (int, error) { return 0, c.bad(ctx) })
		return err
	}).orNil(func(_ *callbackTest, ctx context.Context, _ *pawl.Job[Note]) error {
		_, err := pawl.Step[int](ctx, "step", nil)
		return err
	}),
	"Client.Semaphore(keys)": {cancel: true, set: func(c *callbackTest) {
		c.kind.Permit = func(ctx context.Context, job *pawl.JobInfo) (func(), error) {
			return c.client.Semaphore(1, func(job *pawl.JobInfo) []string {
				if wrongJob(job) {
					c.bad(nil)
				}
				return nil
			})(ctx, job)
		}
	}},
	"Filter.Progress": inHandler(false, func(c *callbackTest, ctx context.Context, _ *pawl.Job[Note]) error {
		if _, err := c.client.Insert(ctx, pawl.JobSpec{Args: pawl.Raw("spare", nil), Delay: hour}); err != nil {
			return err
		}
		if _, err := c.client.Delete(ctx, pawl.Filter{Kind: "spare", Progress: func(int64) { c.bad(nil) }}); err != nil {
			return err
		}
		return errBoom // Progress returned.
	}),
	"Client.WriteMigration(w)": inHandler(true, func(c *callbackTest, ctx context.Context, _ *pawl.Job[Note]) error {
		return c.client.WriteMigration(ctx, badWriter{c.bad}, 0)
	}),
	"Client.With(db)": onPgx, "Client.WithSQL(db)": onSQL,
	// All methods of badDB and badSQLDB misbehave.
	"DB.CopyFrom": {as: "Client.With(db)"}, "DB.Exec": {as: "Client.With(db)"}, "DB.Query": {as: "Client.With(db)"},
	"DB.QueryRow": {as: "Client.With(db)"}, "DB.SendBatch": {as: "Client.With(db)"},
	"SQLDB.ExecContext": {as: "Client.WithSQL(db)"}, "SQLDB.QueryContext": {as: "Client.WithSQL(db)"},
	"Cancel(err)":     returned(func(err error) error { return errors.Join(errBoom, pawl.Dead(pawl.Cancel(err))) }),
	"Dead(err)":       returned(pawl.Dead),
	"RetryAfter(err)": returned(func(err error) error { return pawl.RetryAfter(0, err) }),
	"OutcomeOf(err)":  returned(func(err error) error { pawl.OutcomeOf(err); return err }),
	"Client.Fail(err)": inHandler(false, func(c *callbackTest, ctx context.Context, job *pawl.Job[Note]) error {
		return c.client.Fail(ctx, job, pawl.Dead(badError{c.bad}))
	}),
	"PanicError.Value": inHandler(false, func(c *callbackTest, _ context.Context, _ *pawl.Job[Note]) error {
		panic(badError{c.bad})
	}),
}

// soonStuckAfter is the StuckAfter of the runners in these tests.
const soonStuckAfter = 100 * time.Millisecond

func TestEveryCallbackHasACase(t *testing.T) {
	t.Parallel()
	found := findCallbacks(t)
	if len(found) < 30 {
		t.Errorf("only %d callbacks were found", len(found))
	}
	for _, name := range found {
		if cb, ok := callbacks[name]; !ok || cb.as != "" && callbacks[cb.as].set == nil {
			t.Errorf("%s may run code of the user: add a case to callbacks", name)
		}
	}
	for name := range callbacks {
		name, _, _ = strings.Cut(name, ",")
		if !slices.Contains(found, name) {
			t.Errorf("%s is not in the public API", name)
		}
	}
}

// Whatever a callback does, the process and the runner go on, the job's attempt fails or is not touched, and the next
// job runs.
func TestNoCallbackStopsTheRunner(t *testing.T) {
	t.Parallel()
	for name, cb := range callbacks {
		if cb.as != "" {
			continue
		}
		for what, bad := range misbehaviours {
			if strings.HasPrefix(what, "returns") && !cb.errors {
				continue
			}
			t.Run(name+" "+what, func(t *testing.T) {
				t.Parallel()
				c := callbackTest{bad: func(context.Context) error { return bad() }, becomes: cmp.Or(cb.becomes, pawlstate.Dead)}
				c.test(t, cb.set)
			})
		}
		if cb.setNil != nil {
			t.Run(name+" is nil", func(t *testing.T) {
				t.Parallel()
				c := callbackTest{becomes: pawlstate.Dead}
				c.test(t, cb.setNil)
			})
		}
		t.Run(name+" blocks", func(t *testing.T) {
			t.Parallel()
			entered, over := make(chan struct{}, 1000), make(chan struct{})
			c := callbackTest{becomes: cmp.Or(cb.becomes, pawlstate.Dead), over: func() { close(over) }}
			if cb.cancel {
				c.becomes, c.cancel = pawlstate.Cancelled, entered
			}
			c.bad = func(ctx context.Context) error {
				select {
				case entered <- struct{}{}:
				default:
				}
				if ctx == nil {
					<-over
					return errBoom
				}
				<-ctx.Done()
				return context.Cause(ctx)
			}
			c.test(t, cb.set)
		})
	}
}

// test checks what becomes of a job whose callback misbehaves, and that the next job runs.
func (c *callbackTest) test(t *testing.T, set func(*callbackTest)) {
	c.kind, c.mux, c.hurt = &pawl.KindOptions{Timeout: soonOver}, new(pawl.Mux), Note{1}
	c.runner = &pawl.RunnerConfig{StuckAfter: soonStuckAfter, Heartbeat: 300 * time.Millisecond}
	plain, pool := install(t) // A client without the callbacks.
	config := pawl.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	c.config = &config
	set(c)
	var err error
	c.client, err = pawl.New(pool, config)
	must(t, err)
	if c.over != nil {
		t.Cleanup(c.over) // Before the pool is closed.
	}
	pawl.Handle(c.mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		if job.Args.N == 1 && c.handle != nil {
			return c.handle(ctx, job)
		}
		return nil
	}, *c.kind)
	hurt := insert(t, c.client, pawl.JobSpec{Args: c.hurt, MaxAttempts: 1}) // Encoded, if there is a codec.
	stop := start(t, c.client, c.mux, *c.runner)
	next := insert(t, c.client, Note{2})
	if c.cancel != nil {
		receive(t, "the callback", c.cancel)
		wantCount(t, 1)(plain.Cancel(t.Context(), hurt))
	}
	job := await(t, plain, hurt, c.becomes)
	if job.Reason == "poison" {
		t.Error("the job has crashed workers")
	}
	await(t, plain, next, pawlstate.Completed)
	await(t, plain, insert(t, c.client, Note{3}), pawlstate.Completed)
	if err := stop(); err != nil && !strings.Contains(err.Error(), "handlers are stuck and were left behind") {
		t.Errorf("Run: %v", err)
	}
}
