package inspect

import (
	"context"
	"fmt"
	"time"
)

// maxSkew is the difference between two clocks that Doctor accepts.
const maxSkew = 5 * time.Second

// examineClock compares the clock of this machine with the database's. The clocks of other workers are unknown: a
// worker stores no time of its own.
func (in *Installation) examineClock(ctx context.Context) ([]Finding, error) {
	var there time.Time
	before := in.Now()
	if err := queryRow(ctx, in.Runner, "select clock_timestamp()", nil, &there); err != nil {
		return nil, err
	}
	took := in.Now().Sub(before)
	ahead := before.Add(took / 2).Sub(there).Round(time.Millisecond)
	if ahead.Abs() <= maxSkew+took {
		return nil, nil
	}
	direction := "ahead of"
	if ahead < 0 {
		direction = "behind"
	}
	return []Finding{{
		Check: "clock",
		Problem: fmt.Sprintf("the clock of this machine is %v %s the database's: times from this program, "+
			"such as RunAt and CreatedBefore, are off by as much", ahead.Abs(), direction),
		Remedy: "synchronize both machines: timedatectl set-ntp true",
	}}, nil
}
