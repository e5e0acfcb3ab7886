// Package pawlimport moves live jobs from other queues on PostgreSQL into Pawl. It knows River, pg-boss and Graphile
// Worker.
//
//	report, err := pawlimport.River(ctx, pool, client, pawlimport.Options{DryRun: true})
//	fmt.Print(report)
//
// An import moves jobs and does not copy them: no job can run in both queues at the same time. If both queues are in
// one database, each batch is a transaction that inserts jobs into Pawl and deletes them from the other queue.
// Otherwise jobs pass through the table pawl_import beside the other queue, where no worker runs them.
//
// An import may be killed and started again. It may run while the other queue's producers and workers are working.
//
// The Report says what was not carried over. docs/import.md has the steps of a migration and what each queue keeps.
package pawlimport
