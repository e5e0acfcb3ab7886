package pawl_test

import (
	"fmt"
	"log"
	"time"

	"github.com/pawlhq/pawl"
)

// Crons are put when a program starts: the same again changes nothing, and a program of an older version does not undo
// the newer's.
func ExampleClient_PutCron() {
	err := client.PutCron(ctx,
		pawl.Cron{Name: "welcome", Spec: "30 8 * * mon-fri", Zone: "Europe/Berlin",
			Job: pawl.JobSpec{Args: Welcome{UserID: 42}}},
		pawl.Cron{
			Name: "invoice", Spec: "@monthly", CatchUp: 1, Jitter: 10 * time.Minute, Version: 2,
			Job: pawl.JobSpec{Args: Invoice{Number: "monthly"}, Priority: 5},
		},
	)
	if err != nil {
		log.Fatal(err)
	}
}

// What a spec means is seen before it is put.
func ExampleCron_Next() {
	nightly := pawl.Cron{Spec: "30 2 * * *", Zone: "Europe/Berlin"}
	ticks, err := nightly.Next(time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC), 3)
	if err != nil {
		log.Fatal(err)
	}
	for _, tick := range ticks {
		fmt.Println(tick.Format(time.RFC3339))
	}
	// Output:
	// 2026-03-28T02:30:00+01:00
	// 2026-03-29T03:00:00+02:00
	// 2026-03-30T02:30:00+02:00
}
