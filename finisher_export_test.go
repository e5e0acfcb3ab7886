package pawl

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// A runner that gives up has thousands of results that it could not deliver. The log does not name each of them.
func TestUndeliveredResultsAreToldOnce(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := newReporter(slog.New(slog.NewTextHandler(&log, nil)), t.Context(), nil)
	for i := range 1000 {
		a := attemptResult{job: &JobInfo{ID: ID(i + 1)}, verb: verbComplete}
		r.report(a, "", notDelivered(a, errors.New("the connection is gone")))
	}
	n := strings.Count(log.String(), "result not delivered")
	if n != 1 || !strings.Contains(log.String(), "job.id=1 ") {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
}

// A finisher that is left with leases alone when the runner gives up ends: it does not try them for ever.
func TestLeasesThatCannotBeDeletedEndTheFinisher(t *testing.T) {
	t.Parallel()
	f := &finisher{ctx: t.Context(), statements: 1, idle: make(chan struct{}, 1)}
	f.refused(nil, []string{newLeaseID()}, errors.New("the connection is gone"))
	f.run()
	if err := f.wait(t.Context()); err != nil {
		t.Error(err)
	}
}
