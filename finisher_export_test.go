package pawl

import (
	"errors"
	"testing"
)

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
