package inspect

import (
	"context"
	"fmt"
	"time"

	"github.com/pawlhq/pawl/sql"
)

// partitions finds days that the archive needs soon and has no partition for.
func (in *Installation) partitions(ctx context.Context, tx Runner) (faults []fault, err error) {
	err = tx.Query(ctx, sql.Query("partition"), nil, func(row Row) error {
		var name string
		var day time.Time
		var neededNow, tableExists bool
		if err := row.Scan(&name, &day, &neededNow, &tableExists); err != nil {
			return err
		}
		f := in.missingPartition(name, day, neededNow)
		if tableExists {
			in.describeDetached(&f, name, day)
		}
		faults = append(faults, f)
		return nil
	})
	return faults, err
}

func (in *Installation) missingPartition(name string, day time.Time, neededNow bool) fault {
	f := fault{object: name, structural: true}
	f.Check, f.Fatal = "partition", neededNow
	f.Problem = fmt.Sprintf("the archive has no partition %s: jobs that finish now are kept until %s",
		name, day.Format(time.DateOnly))
	if !neededNow {
		f.Problem = fmt.Sprintf("the archive has no partition %s: jobs that finish tomorrow are kept until %s, "+
			"and no worker has made the partition in a week", name, day.Format(time.DateOnly))
	}
	f.Remedy = "run a worker or `pawl serve`: it makes partitions a week ahead"
	f.repair = func(ctx context.Context) (bool, error) { return true, in.MakePartitions(ctx) }
	return f
}

// describeDetached describes a partition whose table exists but is not part of the archive.
func (in *Installation) describeDetached(f *fault, name string, day time.Time) {
	attach := fmt.Sprintf("alter table pawl.archive_chunk attach partition pawl.%s "+
		"for values from ('%s 00:00:00+00') to ('%s 00:00:00+00')",
		name, day.Format(time.DateOnly), day.AddDate(0, 0, 1).Format(time.DateOnly))
	f.Problem = fmt.Sprintf("table %s is not attached to the archive: finished jobs of that day cannot be stored", name)
	f.Remedy = in.statement("%s", attach)
	f.repair = func(ctx context.Context) (bool, error) { return true, in.Query(ctx, attach, nil, nil) }
}
