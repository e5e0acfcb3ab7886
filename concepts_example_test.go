package pawl_test

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// The examples of docs/concepts.md: the first is the declarations below, the others are the bodies of functions.
// concepts_test.go runs them, and holds the page to them.

// Email is the args of a kind of job; they are stored as JSON.
type Email struct {
	To      string `json:"to"`
	Subject string `json:"subject"`
}

func (Email) Kind() string { return "email" }

// Defaults go with the kind wherever it is inserted.
func (Email) Defaults() pawl.JobSpec { return pawl.JobSpec{MaxAttempts: 5} }

var (
	errNoSuchUser = errors.New("no such user")
	errBusy       = errors.New("busy")
)

// send is what handlers of the examples call.
func send(_ context.Context, email Email) error {
	switch {
	case strings.HasPrefix(email.To, "nobody"):
		return errNoSuchUser
	case strings.HasPrefix(email.To, "busy"):
		return errBusy
	}
	return nil
}

type example func(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool, mux *pawl.Mux) error
