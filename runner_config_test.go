package pawl_test

import (
	"testing"
	"time"

	"github.com/pawlhq/pawl"
)

func TestRunMistakes(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	mux := new(pawl.Mux)
	if err := client.Run(t.Context(), mux, pawl.RunnerConfig{}); err == nil {
		t.Error("Run without a handler returned nil")
	}
	pawl.Handle(mux, newGate().handle)
	if err := client.With(pool).Run(t.Context(), mux, pawl.RunnerConfig{}); err == nil {
		t.Error("Run on a client made by With returned nil")
	}
	for _, config := range []pawl.RunnerConfig{
		{Min: 5, Max: 4}, {Min: -1}, {Max: -1}, {Heartbeat: time.Millisecond}, {PollInterval: -1}, {DrainTimeout: -1},
		{Queues: map[string]pawl.RunnerQueue{}}, {Queues: map[string]pawl.RunnerQueue{"": {}}}, {Queues: map[string]pawl.RunnerQueue{"q": {Max: -1}}},
	} {
		if err := client.Run(t.Context(), mux, config); err == nil {
			t.Errorf("Run accepted %+v", config)
		}
	}
}
