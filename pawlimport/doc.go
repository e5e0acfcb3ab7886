// Package pawlimport moves the live jobs of other queues on PostgreSQL into Pawl: those of River, pg-boss and Graphile Worker.
//
//	report, err := pawlimport.River(ctx, pool, client, pawlimport.Options{DryRun: true})
//	fmt.Print(report)
//
// A job is moved, not copied: at no time is it runnable in both. If both queues are in one database, each batch is a transaction that
// inserts jobs here and deletes them there. If not, jobs go through a table beside the other queue's, pawl_import, where nobody
// runs them. Either way an import may be killed and started again, and may run beside the other queue's producers and workers.
//
// What cannot be carried over is said in the Report. Step by step, and what is kept of each: docs/import.md.
package pawlimport
