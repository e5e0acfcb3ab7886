package pawl

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pawlhq/pawl/internal/outage"
)

// outages are the outages that the runners and the maintenance of a client's process know of. Ready reports them, and
// heartbeats report those of their runner.
type outages struct {
	mu   sync.Mutex
	list []*outage.Outage
}

// lastingOutage is how long something fails before it counts as the state of a worker: a single error passes.
const lastingOutage = 5 * time.Second

// watch adds outages until end is called.
func (t *outages) watch(added ...*outage.Outage) (end func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, added...)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.list = slices.DeleteFunc(t.list, func(o *outage.Outage) bool { return slices.Contains(added, o) })
	}
}

// state describes what fails now, or returns "".
func (t *outages) state() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return stateOf(t.list...)
}

// stateOf describes the outages among some, or returns "".
func stateOf(outages ...*outage.Outage) string {
	var texts []string
	for _, o := range outages {
		if text := o.State(lastingOutage); text != "" {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, "; ")
}

// A runnerOutages has the outages of a runner. claims and results are those that a heartbeat can report.
type runnerOutages struct{ claims, results, heartbeats *outage.Outage }

func newRunnerOutages(log *slog.Logger, worker string) runnerOutages {
	named := func(what, lost, back string) *outage.Outage {
		return &outage.Outage{Logger: log, What: what, Lost: lost, Back: back, Attrs: []any{"worker", worker}}
	}
	return runnerOutages{
		claims: named("claims", "pawl: claim failed; the worker tries again", "pawl: claims work again"),
		results: named("deliveries of results", "pawl: results not delivered; the worker tries again",
			"pawl: results are delivered again"),
		heartbeats: named("heartbeats", "pawl: heartbeat failed", "pawl: heartbeats work again"),
	}
}
