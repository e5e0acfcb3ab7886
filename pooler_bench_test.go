package pawl_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
)

// BenchmarkPickup measures from before an insert to the start of its handler, of a runner that has been idle for a
// while:
//
//	go test -run - -bench Pickup -benchtime 40x .
func BenchmarkPickup(b *testing.B) {
	for _, c := range []struct {
		name           string
		pooled, listen bool
		poll           time.Duration
	}{
		{"no_pooler", false, true, 0}, {"ListenURL", true, true, 0}, {"pooler_alone", true, false, 0},
		{"pooler_alone,_PollInterval_100ms", true, false, 100 * time.Millisecond},
	} {
		b.Run(c.name, func(b *testing.B) {
			pooled, direct := poolerPools(b, nil)
			pool, listenURL := direct, ""
			if c.pooled {
				pool = pooled
			}
			if c.listen {
				listenURL = direct.Config().ConnString()
			}
			client, _ := clientThrough(b, pool, listenURL)
			started := make(chan time.Time)
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error {
				started <- time.Now()
				return nil
			})
			start(b, client, mux, pawl.RunnerConfig{PollInterval: c.poll})
			var took []time.Duration
			for b.Loop() {
				time.Sleep(1500*time.Millisecond + rand.N(time.Second))
				began := time.Now()
				insert(b, client, Note{1})
				took = append(took, (<-started).Sub(began))
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op")
			for _, p := range []int{50, 90, 100} {
				b.ReportMetric(took[(len(took)-1)*p/100].Seconds()*1000, fmt.Sprintf("p%d-ms", p))
			}
		})
	}
}
