package pawl_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// xor is a codec whose output is no JSON and no UTF-8. It names the kind, and can be told to fail.
type xor struct{ encode, decode error }

func (x xor) Encode(kind string, args []byte) ([]byte, error) {
	out := []byte(kind + "\x00")
	for _, b := range args {
		out = append(out, b^0xff)
	}
	return out, x.encode
}

func (x xor) Decode(kind string, stored []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(stored, []byte(kind+"\x00"))
	if !ok {
		return nil, fmt.Errorf("of another kind than %s", kind)
	}
	for i := range rest {
		rest[i] ^= 0xff
	}
	return rest, x.decode
}

func withCodec(codec pawl.Codec) func(*pawl.Config) { return func(c *pawl.Config) { c.Codec = codec } }

func TestACodecEncodesStoredArgs(t *testing.T) {
	for _, n := range []int{1, 5, 2500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			client, pool := install(t, withCodec(xor{}))
			jobs := notes(n)
			jobs[0].Data = []byte("plain")
			var first pawl.ID
			if n == 1 {
				first = insert(t, client, jobs[0])
			} else {
				results, err := client.InsertMany(t.Context(), jobs)
				if err != nil {
					t.Fatal(err)
				}
				first = results[0].ID
			}
			if bare := value[int](t, pool, "select count(*) from pawl.job where jsonb_typeof(args) <> 'string' or args #>> "+
				"'{}' not like 'pawl:codec:%'"); bare != 0 {
				t.Errorf("%d jobs are not encoded", bare)
			}
			job, err := client.Get(t.Context(), first)
			if err != nil {
				t.Fatal(err)
			}
			if string(job.Args) != `{"n":0}` || string(job.Data) != "plain" {
				t.Errorf("Get: args %s, data %q", job.Args, job.Data)
			}
			seen := map[int]bool{}
			for len(seen) < n {
				for _, job := range claim(t, client, 1000) {
					seen[note(t, job).N] = true
				}
			}
		})
	}
}

// A job that was inserted without a codec runs with one. An encoded job is dead in a client without a codec, and its
// error says why.
func TestCodecOnOneSideOnly(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	coded, pool := connect(t, url, withCodec(xor{}))
	plain, _ := connect(t, url)
	ran := make(chan string, 10)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[pawl.RawArgs]) error {
		ran <- string(job.Args.JSON)
		return nil
	}, pawl.KindOptions{Kind: "raw"})
	stop := start(t, coded, mux, pawl.RunnerConfig{})
	for _, args := range [][]byte{nil, []byte("null"), []byte(`"pawl:codec"`), []byte(`{"n": 1}`),
		[]byte(`"pawl:codec:***"`)} {
		insert(t, coded, pawl.Raw("raw", args))
		if got := <-ran; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(string(args), " ", "") {
			t.Errorf("inserted with the codec: %s became %s", args, got)
		}
	}
	for _, args := range [][]byte{nil, []byte("null"), []byte(`"pawl:codec"`), []byte(`{"n": 1}`)} {
		insert(t, plain, pawl.Raw("raw", args))
		if got := <-ran; got != string(args) {
			t.Errorf("inserted without: %s became %s", args, got)
		}
	}
	exec(t, pool, `select pawl.insert('{default}', '{""}', '{0}', '{raw}', '{null}', '{null}', '{null}', '{null}',
		'{null}', '{null}', '{null}')`)
	if got := <-ran; got != "" {
		t.Errorf("inserted by SQL without args: became %s", got)
	}
	forged := insert(t, plain, pawl.Raw("raw", []byte(`"pawl:codec:***"`)))
	if got := await(t, plain, forged, pawlstate.Dead); got.Reason != "unprocessable" ||
		!strings.Contains(got.Errors[0].Error, "base64") {
		t.Errorf("what only looks encoded: %q, %v", got.Reason, got.Errors)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	id := insert(t, coded, pawl.Raw("raw", []byte(`{"n": 1}`)))
	stop = start(t, plain, mux, pawl.RunnerConfig{})
	job := await(t, plain, id, pawlstate.Dead)
	if job.Reason != "unprocessable" || len(job.Errors) != 1 ||
		!strings.Contains(job.Errors[0].Error, "set Config.Codec") {
		t.Errorf("without the codec: %q, %v", job.Reason, job.Errors)
	}
	if !bytes.HasPrefix(job.Args, []byte(`"pawl:codec:`)) {
		t.Errorf("Get without the codec: args are %s", job.Args)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Retry(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	start(t, coded, mux, pawl.RunnerConfig{})
	await(t, coded, id, pawlstate.Completed)
}

type unreadable struct{ xor }

func (unreadable) Decode(kind string, stored []byte) ([]byte, error) { return stored, nil }

type panicking struct{ xor }

func (panicking) Decode(kind string, stored []byte) ([]byte, error) { panic("lost the key") }

func TestDecodeFails(t *testing.T) {
	for name, codec := range map[string]pawl.Codec{
		"lost the key":      xor{decode: errors.New("lost the key")},
		"invalid JSON":      unreadable{},
		"panic: lost the k": panicking{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t, withCodec(codec))
			seen := make(chan error, 1)
			mux := new(pawl.Mux)
			mux.Use(func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
				err := next(ctx)
				seen <- err
				return err
			})
			pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { t.Error("the handler ran"); return nil })
			id := insert(t, client, Note{1})
			stop := start(t, client, mux, pawl.RunnerConfig{})
			job := await(t, client, id, pawlstate.Dead)
			if job.Reason != "unprocessable" || len(job.Errors) != 1 || !strings.Contains(job.Errors[0].Error, name) {
				t.Errorf("reason %q, errors %v", job.Reason, job.Errors)
			}
			if err := <-seen; err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("the middleware saw %v", err)
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}

			// A consumer: the others of the batch are its own, in a transaction too.
			for _, inTx := range []bool{false, true} {
				c, tx := client, pgx.Tx(nil)
				if inTx {
					tx = begin(t, pool)
					c = client.With(tx)
				}
				id := insert(t, client, Note{2})
				insert(t, client, Note{3})
				good := insert(t, client, pawl.Raw("note", nil))
				jobs := claim(t, c, 10)
				if len(jobs) != 1 || jobs[0].ID != good {
					t.Errorf("claimed %v, want job %d alone", jobs, good)
				}
				if err := c.Complete(t.Context(), jobs); err != nil {
					t.Error(err)
				}
				if !inTx {
					if n := value[int](t, pool, "select count(*) from pawl.lease"); n != 0 {
						t.Errorf("%d leases are left", n)
					}
				} else if err := tx.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				if job := await(t, client, id, pawlstate.Dead); job.Reason != "unprocessable" {
					t.Errorf("reason %q, errors %v", job.Reason, job.Errors)
				}
			}
		})
	}
}

func TestEncodeFails(t *testing.T) {
	t.Parallel()
	full := errors.New("out of entropy")
	client, pool := install(t, withCodec(xor{encode: full}), func(c *pawl.Config) { c.InsertRate = pawl.Rate{N: 1} })
	for range 3 {
		if _, err := client.Insert(t.Context(), Note{1}); !errors.Is(err, full) {
			t.Errorf("got %v", err)
		}
		if _, err := client.InsertMany(t.Context(),
			[]pawl.JobSpec{{Args: pawl.Raw("k", nil)}, {Args: Note{1}}}); !errors.Is(err, full) ||
			!strings.Contains(err.Error(), "job 1") {
			t.Errorf("got %v, want it to say which job", err)
		}
	}
	if err := client.Validate(pawl.JobSpec{Args: Note{1}}); err != nil {
		t.Errorf("Validate: %v", err)
	}
	if n := liveRows(t, pool); n != 0 {
		t.Errorf("%d rows", n)
	}
}

func TestOldKeysDecodeAfterARotation(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	spring, autumn := bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 32)
	ring := func(write string, keys map[string][]byte) (*pawl.Client, *pgxpool.Pool) {
		r, err := NewKeyring(write, keys)
		if err != nil {
			t.Fatal(err)
		}
		return connect(t, url, withCodec(r))
	}
	before, pool := ring("spring", map[string][]byte{"spring": spring})
	between, _ := ring("spring", map[string][]byte{"spring": spring, "autumn": autumn})
	after, _ := ring("autumn", map[string][]byte{"spring": spring, "autumn": autumn})
	last, _ := ring("autumn", map[string][]byte{"autumn": autumn})

	insert(t, before, Note{1})
	insert(t, between, Note{2})
	fresh := insert(t, after, Note{3})
	if n := value[int](t, pool, `select count(distinct split_part(convert_from(substr(decode(substr(args #>> '{}', 12),
		'base64'), 1, 6), 'UTF8'), ':', 1)) from pawl.job`); n != 2 {
		t.Errorf("%d keys are named in what is stored, want 2", n)
	}
	ran := make(chan int, 10)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { ran <- job.Args.N; return nil })
	stop := start(t, after, mux, pawl.RunnerConfig{})
	sum := <-ran + <-ran + <-ran
	if err := stop(); err != nil || sum != 6 {
		t.Errorf("the jobs' sum is %d (%v)", sum, err)
	}
	// A process without the new key, and a process that lost the old key too early.
	if job, err := before.Get(t.Context(), fresh); err != nil || !bytes.HasPrefix(job.Args, []byte(`"pawl:codec:`)) {
		t.Errorf("got %s, %v", job.Args, err)
	}
	old := insert(t, before, Note{4})
	stop = start(t, last, mux, pawl.RunnerConfig{})
	if job := await(t, last, old, pawlstate.Dead); !strings.Contains(job.Errors[0].Error, `"spring" is not on the ring`) {
		t.Errorf("errors are %v", job.Errors)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := after.Retry(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	start(t, after, mux, pawl.RunnerConfig{})
	if n := <-ran; n != 4 {
		t.Errorf("got %d", n)
	}
}

func TestACheckpointsArgsAreEncoded(t *testing.T) {
	t.Parallel()
	client, pool := install(t, withCodec(xor{}))
	id := insert(t, client, Note{1})
	must(t, client.Checkpoint(t.Context(), claim(t, client, 1)[0], pawl.Checkpoint{Args: Note{2}}))
	if stored := value[string](t, pool, "select args::text from pawl.job"); !strings.Contains(stored, "pawl:codec:") {
		t.Errorf("the args are stored as %s", stored)
	}
	job, err := client.Get(t.Context(), id)
	must(t, err)
	if note(t, job).N != 2 {
		t.Errorf("its args are %s", job.Args)
	}
}
