package inspect

import "context"

// lockTimeout is how long Verify waits for a table that another session has locked.
const lockTimeout = "10s"

// A fault is a finding of Verify, with its repair.
type fault struct {
	Finding
	object     string // Check and object together identify a fault.
	structural bool   // Repair tries it only once: it is in the schema, or its repair is a new try.

	// repair repairs the fault and reports whether it changed anything. It is nil if no repair is safe.
	repair func(ctx context.Context) (changed bool, err error)
}

func (f *fault) key() string { return f.Check + " " + f.object }

func findings(faults []fault) []Finding {
	var list []Finding
	for _, f := range faults {
		list = append(list, f.Finding)
	}
	return list
}

// Verify returns what is missing from the schema, what differs from what this binary makes, and which rows break an
// invariant. It changes nothing.
func (in *Installation) Verify(ctx context.Context) ([]Finding, error) {
	faults, err := in.faults(ctx, shownExamples)
	return findings(faults), err
}

// faults returns what Verify finds. For each check it keeps at least keep broken rows for a repair.
func (in *Installation) faults(ctx context.Context, keep int) (faults []fault, err error) {
	var found map[string]*violation
	err = in.read(ctx, lockTimeout, func(tx Runner) error {
		installed, err := in.compare(ctx, tx)
		if err != nil {
			return err
		}
		var complete bool
		if faults, complete, err = in.structure(ctx, tx, installed); err != nil || !complete {
			return err
		}
		partitions, err := in.partitions(ctx, tx)
		if err != nil {
			return err
		}
		faults = append(faults, partitions...)
		found, err = violations(ctx, tx, keep)
		return err
	})
	if lockTimedOut(err) {
		return append(faults, fault{Finding: Finding{
			Check:   "lock",
			Problem: "another session has locked a table; verify gave up after " + lockTimeout,
			Remedy:  "run `pawl doctor`, which names the session",
			Fatal:   true,
		}}), nil
	}
	if err != nil {
		return nil, err
	}
	if err := in.confirm(ctx, found); err != nil {
		return nil, err
	}
	return append(faults, in.rowFaults(found)...), nil
}
