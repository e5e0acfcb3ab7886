package top

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
)

// Lines returns the snapshot as text that fits a width and a height. A width or height of 0 is unlimited.
func (s *Snapshot) Lines(width, height int) []string {
	lines := []string{s.totals()}
	if height == 0 || height > 9 {
		stale := ""
		if s.StaleWorkers > 0 {
			stale = fmt.Sprintf(", %d stale", s.StaleWorkers)
		}
		workers := output.Count(int64(s.LiveWorkers), "worker")
		lines = append(lines, fmt.Sprintf("%s%s  oldest transaction %s", workers, stale, age(s.XminAge)), "")
	}
	parts := []grid{s.queueGrid(), s.workerGrid(), s.jobGrid()}
	heights := []int{-1, -1, -1}
	for height > 0 {
		var enough bool
		heights, enough = divide(height-len(lines)-(len(parts)-1), parts)
		if enough || len(parts) == 1 {
			break
		}
		parts = parts[:len(parts)-1]
	}
	for i, part := range parts {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, part.lines(width, heights[i])...)
	}
	if width > 0 {
		for i, line := range lines {
			lines[i] = ansi.Truncate(line, width, "…")
		}
	}
	return lines
}

func (s *Snapshot) totals() string {
	var in, out, failed float64
	for _, q := range s.Queues {
		in, out, failed = in+q.In, out+q.Out, failed+q.Failed
	}
	return fmt.Sprintf("%s  in %s/s  out %s/s  failed %s/s  running %s  dead %s  archived ~%s",
		s.At.UTC().Format("15:04:05 UTC"), short(in), short(out), short(failed),
		short(float64(s.running())), short(float64(s.Dead)), short(float64(s.Archived)))
}

func (s *Snapshot) running() (n int64) {
	for _, q := range s.Queues {
		n += q.Running
	}
	return n
}

func (s *Snapshot) queueGrid() grid {
	g := grid{
		titles: []string{"QUEUE", "READY", "RUNNING", "SCHED", "WAIT", "DEAD", "IN/s", "OUT/s", "FAIL/s", "OLDEST"}, words: 1,
	}
	for _, q := range s.Queues {
		mark := ""
		if q.Estimated {
			mark = "~"
		}
		row := []string{output.Printable(q.Queue)}
		for _, n := range []int64{q.Ready, q.Running, q.Scheduled, q.Waiting + q.Reserved, q.Dead} {
			row = append(row, mark+short(float64(n)))
		}
		g.rows = append(g.rows, append(row, short(q.In), short(q.Out), short(q.Failed), age(q.Oldest)))
	}
	return g
}

func (s *Snapshot) workerGrid() grid {
	g := grid{titles: []string{"WORKER", "STATE", "QUEUES", "RUNNING", "UP", "SILENT"}, words: 3}
	for _, w := range s.Workers {
		state := w.State
		if w.Stale {
			state = "stale"
		}
		names := "all"
		if w.Queues != nil {
			names = strings.Join(w.Queues, ",")
		}
		g.rows = append(g.rows, []string{
			output.Printable(w.Name), state, output.Printable(names), strconv.Itoa(w.Running), age(w.Age), age(w.Silent),
		})
	}
	return g
}

func (s *Snapshot) jobGrid() grid {
	g := grid{titles: []string{"KIND", "QUEUE", "JOB", "ATTEMPT", "AGE", "DONE"}, words: 2, total: int(s.running())}
	for _, j := range s.Running {
		done := ""
		if j.Percent > 0 || j.Message != "" {
			done = strings.TrimSpace(fmt.Sprintf("%d%% %s", j.Percent, output.Printable(j.Message)))
		}
		queue := j.Queue
		if j.Channel != "" {
			queue += "/" + j.Channel
		}
		g.rows = append(g.rows, []string{
			output.Printable(j.Kind), output.Printable(queue), fmt.Sprint(j.ID), strconv.Itoa(j.Attempt), age(j.Age), done,
		})
	}
	return g
}

// divide divides lines among grids. Small grids get all they need, and the others share the rest. It reports whether
// each grid has room for more than its titles and one line.
func divide(lines int, parts []grid) (heights []int, enough bool) {
	order := make([]int, len(parts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return parts[a].height() - parts[b].height() })
	heights, enough = make([]int, len(parts)), true
	for i, part := range order {
		want := parts[part].height()
		heights[part] = max(min(want, lines/(len(order)-i)), 0)
		lines -= heights[part]
		enough = enough && heights[part] >= min(want, 3)
	}
	return heights, enough
}
