package bench

import (
	"fmt"
	"io"
	"time"
)

// display shows people jobs per second while they wait.
type display struct {
	out      io.Writer // nil: to nobody
	scenario string
}

// watch writes a line each second until the function it returns is called.
func (d *display) watch(what string, count func() int64) (stop func()) {
	if d.out == nil {
		return func() {}
	}
	quit, quitted := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(quitted)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		last, at := count(), time.Now()
		for second := 1; ; second++ {
			select {
			case <-quit:
				return
			case now := <-tick.C:
				n := count()
				fmt.Fprintf(d.out, "%-18s %4d s %10s jobs/s %s\n", d.scenario, second, grouped(float64(n-last)/now.Sub(at).Seconds()), what)
				last, at = n, now
			}
		}
	}()
	return func() {
		close(quit)
		<-quitted
	}
}
