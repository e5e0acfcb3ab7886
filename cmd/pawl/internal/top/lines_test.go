package top

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/pawlhq/pawl"
)

func TestLines(t *testing.T) {
	t.Parallel()
	snapshot := Snapshot{
		At: time.Date(2027, 1, 31, 8, 0, 0, 0, time.UTC), LiveWorkers: 2, StaleWorkers: 1, XminAge: 3 * time.Hour,
		Archived: 12_345_678,
	}
	got := strings.Join(snapshot.Lines(0, 0), "\n")
	if !strings.Contains(got, "08:00:00 UTC") || strings.Count(got, "none") != 3 {
		t.Errorf("an empty installation:\n%s", got)
	}
	for i := range 40 {
		name := fmt.Sprintf("größe %d %s", i, strings.Repeat("日本", i))
		snapshot.Queues = append(snapshot.Queues, Queue{
			Queue: name, Ready: 1 << i, Estimated: i%2 == 0, In: 0.25, Oldest: time.Hour,
		})
		snapshot.Workers = append(snapshot.Workers, Worker{
			Name: "host:" + name, State: "ready", Stale: i == 3, Age: time.Minute, Queues: []string{name, "x\x1b[31m"},
		})
		snapshot.Running = append(snapshot.Running, Job{
			ID: pawl.ID(i), Kind: "kind\nof", Queue: name, Percent: i, Message: "going",
		})
	}
	for _, size := range [][2]int{{0, 0}, {200, 50}, {80, 24}, {80, 23}, {40, 12}, {20, 8}, {10, 5}, {5, 3}, {1, 1}} {
		width, height := size[0], size[1]
		lines := snapshot.Lines(width, height)
		for _, line := range lines {
			if width > 0 && ansi.StringWidth(line) > width || strings.ContainsAny(line, "\n\x1b") {
				t.Errorf("%d columns: %q has %d", width, line, ansi.StringWidth(line))
			}
		}
		if height > 5 && len(lines) > height {
			t.Errorf("%d lines: %d are written", height, len(lines))
		}
		text := strings.Join(lines, "\n")
		if height >= 6 && !strings.Contains(text, "größe") {
			t.Errorf("%dx%d: no queue:\n%s", width, height, text)
		}
		if height >= 23 || height == 0 {
			for _, want := range []string{"QUEUE", "WORKER", "JOB", "größe 0", "stale"} {
				if !strings.Contains(text, want) {
					t.Errorf("%dx%d: %q is missing:\n%s", width, height, want, text)
				}
			}
		}
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for n, want := range map[float64]string{
		0: "0", 7: "7", 0.25: "0.2", 12.34: "12.3", 999: "999", 999.6: "1.0k",
		1000: "1.0k", 12_345: "12.3k", 123_456: "123k", 999_999: "1.0M", 5e9: "5.0G", 7e12: "7T",
	} {
		if got := short(n); got != want {
			t.Errorf("%v is %s, want %s", n, got, want)
		}
	}
}
