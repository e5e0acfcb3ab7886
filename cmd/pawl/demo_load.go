package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pawlhq/pawl"
)

// The shop's jobs. Fields such as Refused make the load the same in every run: how often the outside world says no.

type emailJob struct {
	User    int `json:"user"`
	Refused int `json:"refused,omitempty"` // Attempts that the mail server refuses.
}

type thumbnailJob struct {
	Image   int  `json:"image"`
	Broken  bool `json:"broken,omitempty"`  // Fails whenever it is tried.
	Refused int  `json:"refused,omitempty"` // Attempts that the image store refuses.
}

type invoiceJob struct {
	Order int64 `json:"order"`
	Cents int64 `json:"cents"`
	Fails bool  `json:"fails,omitempty"` // The first attempt, after its row is written and before the commit.
}

type reminderJob struct {
	Order   int  `json:"order"`
	Unknown bool `json:"unknown,omitempty"` // There is no such order: no use in trying again.
}

type reportJob struct {
	Month  int           `json:"month"`
	Takes  time.Duration `json:"takes"`
	Broken bool          `json:"broken,omitempty"`
}

func (emailJob) Kind() string     { return "email" }
func (thumbnailJob) Kind() string { return "thumbnail" }
func (invoiceJob) Kind() string   { return "invoice" }
func (reminderJob) Kind() string  { return "reminder" }
func (reportJob) Kind() string    { return "report" }

// Waits between attempts are short: nobody watches a demo for minutes.
var soon = pawl.Backoff{Base: 250 * time.Millisecond, Growth: 2}

// Money first, reports when there is nothing else to do.
func (invoiceJob) Defaults() pawl.JobSpec  { return pawl.JobSpec{Priority: -10, Backoff: soon} }
func (emailJob) Defaults() pawl.JobSpec    { return pawl.JobSpec{Backoff: soon} }
func (reminderJob) Defaults() pawl.JobSpec { return pawl.JobSpec{Backoff: soon} }
func (thumbnailJob) Defaults() pawl.JobSpec {
	return pawl.JobSpec{Priority: 10, Backoff: soon, MaxAttempts: 3}
}
func (reportJob) Defaults() pawl.JobSpec { return pawl.JobSpec{Priority: 20, Backoff: soon} }

var (
	demoKinds   = []string{"email", "thumbnail", "invoice", "reminder", "report"}
	demoTenants = []string{"acme", "bakery", "cinema", "dentist", "embassy", "florist"}
)

// demoLoad is what is inserted, and what came of it.
type demoLoad struct {
	base  *demoDatabase
	lasts time.Duration // From the first insert to the last.
	want  map[string]int
	// orphans are the jobs of the worker that was killed.
	orphans heldJobs

	mu       sync.Mutex
	ids      map[string][]pawl.ID // By kind: committed.
	undone   []pawl.ID            // In transactions that were rolled back.
	hopeless int                  // Of ids: will be dead.
}

const (
	ordersInTx = 10
	rollsBack  = 10 // Every so many transactions one is rolled back.
)

func newDemoLoad(base *demoDatabase, scale float64) *demoLoad {
	n := func(full int) int { return max(int(float64(full)*scale), 10) }
	l := &demoLoad{base: base, ids: map[string][]pawl.ID{}, lasts: time.Duration(min(max(scale, 0.3), 3) * float64(9*time.Second))}
	l.want = map[string]int{
		"email": n(5000), "thumbnail": n(1500), "invoice": n(100) * ordersInTx, "reminder": n(400), "report": n(30),
	}
	return l
}

func (l *demoLoad) total() (n int) {
	for _, m := range l.want {
		n += m
	}
	return n
}

func (l *demoLoad) inserted() (all []pawl.ID) {
	for _, ids := range l.ids {
		all = append(all, ids...)
	}
	return all
}

func (l *demoLoad) note(kind string, hopeless int, results ...pawl.InsertResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range results {
		l.ids[kind] = append(l.ids[kind], r.ID)
	}
	l.hopeless += hopeless
}

func tenant(i int) string { return demoTenants[i%len(demoTenants)] }

// insert does all at once: what a shop's processes do side by side.
func (l *demoLoad) insert(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := []func(context.Context) error{l.emails, l.invoices, l.reminders, l.reports}
	const uploaders = 4
	for u := range uploaders {
		parts = append(parts, func(ctx context.Context) error { return l.thumbnails(ctx, u, uploaders) })
	}
	failures := make(chan error, len(parts))
	for _, part := range parts {
		go func() {
			err := part(ctx)
			if err != nil {
				cancel() // The others need not go on.
			}
			failures <- err
		}()
	}
	var first error
	for range parts {
		if err := <-failures; err != nil && (first == nil || errors.Is(first, context.Canceled)) {
			first = err
		}
	}
	return first
}

// emails: one tenant floods the queue at once; the others' come in batches, and must not wait for the flood.
func (l *demoLoad) emails(ctx context.Context) error {
	const batches = 12
	flood := l.want["email"] / 2
	rest := l.want["email"] - flood
	user := 0
	insert := func(n int, channel func(int) string) error {
		jobs := make([]pawl.JobSpec, n)
		for i := range jobs {
			user++
			refused := 0
			if user%25 == 0 {
				refused = 1 + user%2
			}
			jobs[i] = pawl.JobSpec{Args: emailJob{User: user, Refused: refused}, Channel: channel(i)}
		}
		results, err := l.base.client.InsertMany(ctx, jobs)
		if err == nil {
			l.note("email", 0, results...)
		}
		return err
	}
	if err := insert(flood, func(int) string { return demoTenants[0] }); err != nil {
		return err
	}
	for b := range batches {
		if !pause(ctx, l.lasts/batches) {
			return ctx.Err()
		}
		n := rest*(b+1)/batches - rest*b/batches
		if err := insert(n, func(i int) string { return tenant(1 + i%(len(demoTenants)-1)) }); err != nil {
			return err
		}
	}
	return nil
}

// thumbnails: one by one, as uploads come in.
func (l *demoLoad) thumbnails(ctx context.Context, first, step int) error {
	n := l.want["thumbnail"]
	for i := first; i < n; i += step {
		job := thumbnailJob{Image: i, Broken: i%100 == 7}
		hopeless := 0
		if job.Broken {
			hopeless = 1
		} else if i%20 == 3 {
			job.Refused = 1
		}
		result, err := l.base.client.Insert(ctx, pawl.JobSpec{Args: job, Channel: tenant(i)})
		if err != nil {
			return err
		}
		l.note("thumbnail", hopeless, result)
		if !pause(ctx, l.lasts*time.Duration(step)/time.Duration(n)) {
			return ctx.Err()
		}
	}
	return nil
}

// invoices: the orders and their jobs in one transaction. Some are rolled back: then there is neither.
func (l *demoLoad) invoices(ctx context.Context) error {
	back := errors.New("the customer changed his mind")
	for done, tries := 0, 1; done < l.want["invoice"]; tries++ {
		var results []pawl.InsertResult
		err := pgx.BeginFunc(ctx, l.base.pool, func(tx pgx.Tx) error {
			queue := l.base.client.With(tx)
			jobs := make([]pawl.JobSpec, ordersInTx)
			for i := range jobs {
				var order int64
				who, cents := tenant(tries+i), int64(1000+37*(done+i))
				err := tx.QueryRow(ctx, "insert into pawl_demo_app.orders (tenant, cents) values ($1, $2) returning id", who, cents).Scan(&order)
				if err != nil {
					return err
				}
				jobs[i] = pawl.JobSpec{Args: invoiceJob{Order: order, Cents: cents, Fails: (done+i)%15 == 4}, Channel: who}
			}
			var err error
			if results, err = queue.InsertMany(ctx, jobs); err == nil && tries%rollsBack == 0 {
				err = back
			}
			return err
		})
		switch {
		case errors.Is(err, back):
			l.mu.Lock()
			for _, r := range results {
				l.undone = append(l.undone, r.ID)
			}
			l.mu.Unlock()
		case err != nil:
			return fmt.Errorf("orders: %w", err)
		default:
			done += ordersInTx
			l.note("invoice", 0, results...)
		}
		if !pause(ctx, l.lasts*ordersInTx/time.Duration(l.want["invoice"]*rollsBack/(rollsBack-1)+1)) {
			return ctx.Err()
		}
	}
	return nil
}

// reminders: for later.
func (l *demoLoad) reminders(ctx context.Context) error {
	jobs := make([]pawl.JobSpec, l.want["reminder"])
	hopeless := 0
	for i := range jobs {
		unknown := i%80 == 5
		if unknown {
			hopeless++
		}
		delay := l.lasts/5 + l.lasts*time.Duration(i)/time.Duration(len(jobs))*4/5
		jobs[i] = pawl.JobSpec{Args: reminderJob{Order: i, Unknown: unknown}, Channel: tenant(i), Delay: delay}
	}
	results, err := l.base.client.InsertMany(ctx, jobs)
	if err == nil {
		l.note("reminder", hopeless, results...)
	}
	return err
}

// reports: few and slow, so that there is always one under way.
func (l *demoLoad) reports(ctx context.Context) error {
	n := l.want["report"]
	for i := range n {
		job := reportJob{Month: i, Takes: time.Duration(1000+i%6*200) * time.Millisecond}
		if i%10 == 4 {
			job.Broken, job.Takes = true, 500*time.Millisecond
		}
		spec := pawl.JobSpec{Args: job, Channel: tenant(i), MaxAttempts: 2}
		hopeless := 0
		if job.Broken {
			hopeless = 1
		}
		result, err := l.base.client.Insert(ctx, spec)
		if err != nil {
			return err
		}
		l.note("report", hopeless, result)
		if !pause(ctx, l.lasts/time.Duration(n)) {
			return ctx.Err()
		}
	}
	return nil
}
