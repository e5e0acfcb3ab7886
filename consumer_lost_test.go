package pawl_test

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// A lossyConn loses the result of a statement: if it is armed and the statement is sent, it breaks when the result
// comes.
type lossyConn struct {
	net.Conn
	armed     *atomic.Bool
	statement []byte
	breaks    bool
}

func (c *lossyConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, c.statement) && c.armed.CompareAndSwap(true, false) {
		c.breaks = true
	}
	return c.Conn.Write(b)
}

func (c *lossyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.breaks {
		c.Conn.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

// The database carries out a claim and its result is lost. The job is ready again long before the lease expires.
func TestAClaimWhoseResultIsLostIsUndone(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var armed atomic.Bool
	lossy := pgtest.Pool(t, pool.Config().ConnString(), func(c *pgxpool.Config) {
		c.MaxConns = 1
		dial := c.ConnConfig.DialFunc
		c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			return &lossyConn{Conn: conn, armed: &armed, statement: []byte("pawl.claim(")}, err
		}
	})
	consumer, err := pawl.New(lossy, pawl.Config{})
	must(t, err)
	insert(t, client, Note{0})
	must(t, consumer.Complete(t.Context(), claim(t, consumer, 1))) // The connection has the statement described now.
	id := insert(t, client, Note{1})
	epoch := func() int {
		return value[int](t, pool, "select epoch from pawl.job where id = $1", int64(id))
	}
	before := epoch()
	armed.Store(true)
	if jobs, err := consumer.Claim(t.Context(), "default", 1, time.Hour); err == nil {
		t.Fatalf("the claim returned %d jobs, want an error", len(jobs))
	}
	pgtest.Wait(t, "the claim to be undone", func() bool {
		return value[int](t, pool, "select count(*) from pawl.ready") == 1 && epoch() == before+1
	})
	if job := claim(t, client, 1)[0]; job.ID != id || job.Attempt != 1 {
		t.Errorf("claimed job %d at attempt %d, want job %d at attempt 1", job.ID, job.Attempt, id)
	}
}
