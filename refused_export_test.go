package pawl

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/jackc/pgx/v5/pgconn"
)

// A statement is tried again until it is clear that a result is at fault. An error that may pass never counts as the
// fault of a result.
func TestWhenADeliveryIsRefused(t *testing.T) {
	t.Parallel()
	small := &JobInfo{Args: make([]byte, 100)}
	large := &JobInfo{Args: make([]byte, 2<<20)}
	for name, c := range map[string]struct {
		err     error
		job     *JobInfo
		failing int // How often the statement fails.
		tries   int
		refused bool
	}{
		"a value out of range":          {&pgconn.PgError{Code: "22003"}, small, 9, 1, true},
		"a constraint":                  {&pgconn.PgError{Code: "23514", ConstraintName: "c"}, small, 9, 1, true},
		"no partition":                  {&pgconn.PgError{Code: "23514"}, small, 9, 1, false},
		"a program limit":               {&pgconn.PgError{Code: "54000"}, small, 9, 1, true},
		"a message that is too large":   {errors.New("write failed: message body too large"), small, 9, 1, true},
		"an internal error that stays":  {&pgconn.PgError{Code: "XX000"}, small, 9, 3, true},
		"an internal error that passes": {&pgconn.PgError{Code: "XX000"}, small, 2, 3, false},
		"a plan that became invalid":    {&pgconn.PgError{Code: "0A000"}, small, 1, 2, false},
		"no memory for a large result":  {&pgconn.PgError{Code: "53200"}, large, 9, 3, true},
		"no memory for a small result":  {&pgconn.PgError{Code: "53200"}, small, 9, 10, false},
		"a broken connection":           {errors.New("broken pipe"), small, 9, 10, false},
		"a privilege":                   {&pgconn.PgError{Code: "42501"}, small, 9, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				err := retryDelivery(t.Context(), []attemptResult{{job: c.job}}, func() error {
					if tries++; tries > c.failing {
						return nil
					}
					return c.err
				})
				if tries != c.tries || isRefusal(err) != c.refused {
					t.Errorf("%d tries, then %v, refused %t; want %d, %t", tries, err, isRefusal(err), c.tries, c.refused)
				}
			})
		})
	}
}
