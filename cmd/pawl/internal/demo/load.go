package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
)

// load inserts the jobs and remembers their IDs.
type load struct {
	db       *database
	duration time.Duration // From the first insert to the last.
	want     map[string]int
	orphans  claimedJobs // The jobs of the killed worker.

	mu       sync.Mutex
	ids      map[string][]pawl.ID // By kind: the committed jobs.
	undone   []pawl.ID            // The jobs of transactions that were rolled back.
	hopeless int                  // The number of ids that will be dead.
}

const (
	ordersInTx = 10
	rollsBack  = 10 // Every tenth transaction is rolled back.
)

func newLoad(db *database, scale float64) *load {
	n := func(full int) int { return max(int(float64(full)*scale), 10) }
	l := &load{
		db: db, ids: map[string][]pawl.ID{}, duration: time.Duration(min(max(scale, 0.3), 3) * float64(9*time.Second)),
	}
	l.want = map[string]int{
		"email": n(5000), "thumbnail": n(1500), "invoice": n(100) * ordersInTx, "reminder": n(400), "report": n(30),
	}
	return l
}

func (l *load) total() (n int) {
	for _, m := range l.want {
		n += m
	}
	return n
}

func (l *load) inserted() (all []pawl.ID) {
	for _, ids := range l.ids {
		all = append(all, ids...)
	}
	return all
}

func (l *load) note(kind string, hopeless int, results ...pawl.InsertResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range results {
		l.ids[kind] = append(l.ids[kind], r.ID)
	}
	l.hopeless += hopeless
}

func tenant(i int) string { return tenants[i%len(tenants)] }

// insert inserts all kinds of jobs concurrently.
func (l *load) insert(ctx context.Context) error {
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
				cancel() // The others need not continue.
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

// emails inserts half of the emails at once, for one tenant. The emails of the other tenants come in batches, and must
// not wait for the first half.
func (l *load) emails(ctx context.Context) error {
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
		results, err := l.db.client.InsertMany(ctx, jobs)
		if err == nil {
			l.note("email", 0, results...)
		}
		return err
	}
	if err := insert(flood, func(int) string { return tenants[0] }); err != nil {
		return err
	}
	for b := range batches {
		if !pause(ctx, l.duration/batches) {
			return ctx.Err()
		}
		n := rest*(b+1)/batches - rest*b/batches
		if err := insert(n, func(i int) string { return tenant(1 + i%(len(tenants)-1)) }); err != nil {
			return err
		}
	}
	return nil
}

// thumbnails inserts thumbnails one by one.
func (l *load) thumbnails(ctx context.Context, first, step int) error {
	n := l.want["thumbnail"]
	for i := first; i < n; i += step {
		job := thumbnailJob{Image: i, Broken: i%100 == 7}
		hopeless := 0
		if job.Broken {
			hopeless = 1
		} else if i%20 == 3 {
			job.Refused = 1
		}
		result, err := l.db.client.Insert(ctx, pawl.JobSpec{Args: job, Channel: tenant(i)})
		if err != nil {
			return err
		}
		l.note("thumbnail", hopeless, result)
		if !pause(ctx, l.duration*time.Duration(step)/time.Duration(n)) {
			return ctx.Err()
		}
	}
	return nil
}

// invoices inserts orders and their jobs in one transaction. It rolls some transactions back, so that neither exists.
func (l *load) invoices(ctx context.Context) error {
	back := errors.New("the customer cancelled the order")
	for done, tries := 0, 1; done < l.want["invoice"]; tries++ {
		var results []pawl.InsertResult
		err := pgx.BeginFunc(ctx, l.db.pool, func(tx pgx.Tx) error {
			queue := l.db.client.With(tx)
			jobs := make([]pawl.JobSpec, ordersInTx)
			for i := range jobs {
				var order int64
				who, cents := tenant(tries+i), int64(1000+37*(done+i))
				err := tx.QueryRow(ctx, "insert into pawl_demo_app.orders (tenant, cents) values ($1, $2) returning id",
					who, cents).Scan(&order)
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
		if !pause(ctx, l.duration*ordersInTx/time.Duration(l.want["invoice"]*rollsBack/(rollsBack-1)+1)) {
			return ctx.Err()
		}
	}
	return nil
}

// reminders inserts reminders with a delay.
func (l *load) reminders(ctx context.Context) error {
	jobs := make([]pawl.JobSpec, l.want["reminder"])
	hopeless := 0
	for i := range jobs {
		unknown := i%80 == 5
		if unknown {
			hopeless++
		}
		delay := l.duration/5 + l.duration*time.Duration(i)/time.Duration(len(jobs))*4/5
		jobs[i] = pawl.JobSpec{Args: reminderJob{Order: i, Unknown: unknown}, Channel: tenant(i), Delay: delay}
	}
	results, err := l.db.client.InsertMany(ctx, jobs)
	if err == nil {
		l.note("reminder", hopeless, results...)
	}
	return err
}

// reports inserts few and slow reports, so that one is always running.
func (l *load) reports(ctx context.Context) error {
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
		result, err := l.db.client.Insert(ctx, spec)
		if err != nil {
			return err
		}
		l.note("report", hopeless, result)
		if !pause(ctx, l.duration/time.Duration(n)) {
			return ctx.Err()
		}
	}
	return nil
}
