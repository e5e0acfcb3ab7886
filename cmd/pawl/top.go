package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/spf13/cobra"
)

func topCommand(p *program) *cobra.Command {
	interval := time.Second
	command := &cobra.Command{
		Use:   "top",
		Short: "Watch queues, workers and running jobs; q ends it",
		Long: `Top shows depth and throughput of the queues, the workers, and jobs that run, newest first, and refreshes them in place. q or ^C ends it.
Where standard output is no terminal, or --format is not table, it prints one look and ends.

IN, OUT and FAIL are jobs inserted and completed and attempts failed a second, over the last minute. OLDEST is how long the oldest ready job has
been due. A figure with ~ is an estimate.`,
		Args:    cobra.NoArgs,
		GroupID: groupRun,
		RunE: func(command *cobra.Command, _ []string) error {
			if interval < 100*time.Millisecond {
				return usageError{fmt.Errorf("--interval %s: want at least 100ms", formatDuration(interval))}
			}
			s, err := p.settings()
			if err != nil {
				return err
			}
			live := s.Format == "table" && outputWidth(p.stdout) > 0 && isTerminal(p.stdin) && (p.out == "stdout" || p.out == "-")
			if live && (s.LogDest == "stderr" || s.LogDest == "stdout") {
				p.log = slog.New(slog.DiscardHandler) // It would write over the screen.
			}
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			first, err := lookAround(command.Context(), client)
			switch {
			case err != nil:
				return err
			case live:
				return p.watch(command.Context(), client, first, interval)
			case s.Format != "table":
				return p.print(first)
			}
			out, err := p.output()
			if err != nil {
				return err
			}
			_, err = io.WriteString(out, strings.Join(first.lines(0, 0), "\n")+"\n")
			return err
		},
	}
	command.Flags().Var((*durationValue)(&interval), "interval", "between looks")
	return command
}

// topLook is one look at everything.
type topLook struct {
	At           time.Time     `json:"at"`
	LiveWorkers  int           `json:"live_workers"`
	StaleWorkers int           `json:"stale_workers"`
	Dead         int64         `json:"dead"`
	Archived     int64         `json:"archived_estimate"`
	XminAge      time.Duration `json:"xmin_age"`
	Queues       []topQueue    `json:"queues"`
	Workers      []topWorker   `json:"workers"`
	Running      []topJob      `json:"running"`
}

type topQueue struct {
	Queue     string        `json:"queue"`
	Ready     int64         `json:"ready"`
	Running   int64         `json:"running"`
	Scheduled int64         `json:"scheduled"`
	Waiting   int64         `json:"waiting"`
	Reserved  int64         `json:"reserved"`
	Dead      int64         `json:"dead"`
	Estimated bool          `json:"estimated"`
	In        float64       `json:"in_per_second"`
	Out       float64       `json:"out_per_second"`
	Failed    float64       `json:"failed_per_second"`
	Oldest    time.Duration `json:"oldest_ready"`
	Lag       time.Duration `json:"lag"`
}

// idle is 0 where jobs come, run or go, 1 where some could, else 2.
func (q *topQueue) idle() int {
	switch {
	case q.Running > 0 || q.In+q.Out+q.Failed > 0:
		return 0
	case q.Ready > 0:
		return 1
	}
	return 2
}

type topWorker struct {
	ID      int64         `json:"id"`
	Name    string        `json:"name"`
	State   string        `json:"state"`
	Stale   bool          `json:"stale"`
	Running int           `json:"running"`
	Queues  []string      `json:"queues"`
	Age     time.Duration `json:"age"`
	Silent  time.Duration `json:"silent"`
}

type topJob struct {
	ID      pawl.ID       `json:"id"`
	Queue   string        `json:"queue"`
	Channel string        `json:"channel"`
	Kind    string        `json:"kind"`
	Attempt int           `json:"attempt"`
	Age     time.Duration `json:"age"` // Since it was inserted.
	Percent int           `json:"percent"`
	Message string        `json:"message"`
}

const mostTopJobs = 100

func lookAround(ctx context.Context, client *pawl.Client) (topLook, error) {
	stats, err := client.Stats(ctx)
	if err != nil {
		return topLook{}, err
	}
	look := topLook{
		At: stats.At, LiveWorkers: stats.Workers, StaleWorkers: stats.StaleWorkers, Dead: stats.Dead, Archived: stats.Archived, XminAge: stats.XminAge,
		Queues: []topQueue{}, Workers: []topWorker{}, Running: []topJob{},
	}
	for _, q := range stats.Queues {
		look.Queues = append(look.Queues, topQueue{
			Queue: q.Queue, Ready: q.Ready, Running: q.Running, Scheduled: q.Scheduled, Waiting: q.Waiting, Reserved: q.Reserved, Dead: q.Dead,
			Estimated: q.Estimated, In: q.In, Out: q.Out, Failed: q.Failed, Oldest: q.OldestReady, Lag: q.Lag,
		})
	}
	// Those where something happens first: a small terminal has no room for all.
	slices.SortStableFunc(look.Queues, func(a, b topQueue) int { return a.idle() - b.idle() })
	workers, err := client.Workers(ctx)
	if err != nil {
		return topLook{}, err
	}
	for _, w := range workers {
		if w.State != "stopped" && w.State != "lost" {
			look.Workers = append(look.Workers, topWorker{w.ID, w.Name, w.State, w.Stale, w.Running, w.Queues, w.Age, w.Silent})
		}
	}
	jobs, err := client.List(ctx, pawl.Filter{States: []pawlstate.State{pawlstate.Running}, Limit: mostTopJobs})
	if err != nil {
		return topLook{}, err
	}
	for _, job := range jobs {
		look.Running = append(look.Running, topJob{
			job.ID, job.Queue, job.Channel, job.Kind, job.Attempt, stats.At.Sub(job.CreatedAt), job.Percent, job.Message,
		})
	}
	return look, nil
}

// lines are the look as text, in so many columns and lines; 0: as many as it takes.
func (l *topLook) lines(width, height int) []string {
	queues := grid{titles: []string{"QUEUE", "READY", "RUNNING", "SCHED", "WAIT", "DEAD", "IN/s", "OUT/s", "FAIL/s", "OLDEST"}, left: 1}
	var running int64
	var in, out, failed float64
	for _, q := range l.Queues {
		running, in, out, failed = running+q.Running, in+q.In, out+q.Out, failed+q.Failed
		mark := ""
		if q.Estimated {
			mark = "~"
		}
		queues.rows = append(queues.rows, []string{
			printable(q.Queue), mark + short(float64(q.Ready)), mark + short(float64(q.Running)), mark + short(float64(q.Scheduled)),
			mark + short(float64(q.Waiting+q.Reserved)), mark + short(float64(q.Dead)), short(q.In), short(q.Out), short(q.Failed), age(q.Oldest),
		})
	}
	workers := grid{titles: []string{"WORKER", "STATE", "QUEUES", "RUNNING", "UP", "SILENT"}, left: 3}
	for _, w := range l.Workers {
		state := w.State
		if w.Stale {
			state = "stale"
		}
		names := "all"
		if w.Queues != nil {
			names = strings.Join(w.Queues, ",")
		}
		workers.rows = append(workers.rows, []string{printable(w.Name), state, printable(names), strconv.Itoa(w.Running), age(w.Age), age(w.Silent)})
	}
	jobs := grid{titles: []string{"KIND", "QUEUE", "JOB", "ATTEMPT", "AGE", "DONE"}, left: 2, of: int(running)}
	for _, j := range l.Running {
		done := ""
		if j.Percent > 0 || j.Message != "" {
			done = strings.TrimSpace(fmt.Sprintf("%d%% %s", j.Percent, printable(j.Message)))
		}
		queue := j.Queue
		if j.Channel != "" {
			queue += "/" + j.Channel
		}
		jobs.rows = append(jobs.rows, []string{printable(j.Kind), printable(queue), fmt.Sprint(j.ID), strconv.Itoa(j.Attempt), age(j.Age), done})
	}
	head := fmt.Sprintf("%s  in %s/s  out %s/s  failed %s/s  running %s  dead %s  archived ~%s", l.At.UTC().Format("15:04:05 UTC"), short(in), short(out), short(failed),
		short(float64(running)), short(float64(l.Dead)), short(float64(l.Archived)))
	stale := ""
	if l.StaleWorkers > 0 {
		stale = fmt.Sprintf(", %d stale", l.StaleWorkers)
	}
	lines := []string{head}
	if height == 0 || height > 9 {
		lines = append(lines, fmt.Sprintf("%s%s  oldest transaction %s", counted(int64(l.LiveWorkers), "worker"), stale, age(l.XminAge)), "")
	}
	parts := []grid{queues, workers, jobs}
	share := []int{-1, -1, -1}
	for height > 0 {
		var enough bool
		if share, enough = shares(height-len(lines)-(len(parts)-1), parts); enough || len(parts) == 1 {
			break
		}
		parts = parts[:len(parts)-1]
	}
	for i, part := range parts {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, part.lines(width, share[i])...)
	}
	if width > 0 {
		for i, line := range lines {
			lines[i] = ansi.Truncate(line, width, "…")
		}
	}
	return lines
}

// shares divides lines among parts: who wants little gets it, the rest is shared. Not enough is a header with nothing under it but "more".
func shares(lines int, parts []grid) (got []int, enough bool) {
	order := make([]int, len(parts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return parts[a].height() - parts[b].height() })
	got, enough = make([]int, len(parts)), true
	for i, part := range order {
		want := parts[part].height()
		got[part] = max(min(want, lines/(len(order)-i)), 0)
		lines -= got[part]
		enough = enough && got[part] >= min(want, 3)
	}
	return got, enough
}

// grid is columns of text under a header.
type grid struct {
	titles []string
	left   int // So many columns are words, the others numbers.
	rows   [][]string
	of     int // There are more than rows: so many.
}

func (g *grid) height() int { return 1 + max(len(g.rows), 1) }

// lines are at most so many columns and lines; 0 and -1: as many as it takes. What is too wide loses in the widest column of words, then
// columns at the right.
func (g *grid) lines(width, height int) []string {
	widths := make([]int, len(g.titles))
	for _, row := range append([][]string{g.titles}, g.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], ansi.StringWidth(cell))
		}
	}
	columns := len(widths)
	total := func() int {
		n := 2 * (columns - 1)
		for _, w := range widths[:columns] {
			n += w
		}
		return n
	}
	for width > 0 && total() > width {
		widest := 0
		for i := range min(g.left, columns) {
			if widths[i] > widths[widest] {
				widest = i
			}
		}
		const least = 12
		switch {
		case widths[widest] > least:
			widths[widest] = max(least, widths[widest]-(total()-width))
		case columns > 2:
			columns--
		default:
			widths[0], width = max(width-widths[1]-2, 4), 0
		}
	}
	write := func(row []string) string {
		var b strings.Builder
		for i, cell := range row[:columns] {
			cell = ansi.Truncate(cell, widths[i], "…")
			gap := strings.Repeat(" ", widths[i]-ansi.StringWidth(cell))
			if i > 0 {
				b.WriteString("  ")
			}
			if i < g.left || i == len(g.titles)-1 && g.titles[i] == "DONE" {
				b.WriteString(cell + gap)
			} else {
				b.WriteString(gap + cell)
			}
		}
		return strings.TrimRight(b.String(), " ")
	}
	rows, all := g.rows, max(g.of, len(g.rows))
	if height >= 0 && 1+len(rows) > height {
		rows = rows[:max(height-2, 0)]
	}
	lines := []string{write(g.titles)}
	for _, row := range rows {
		lines = append(lines, write(row))
	}
	switch {
	case all == 0:
		lines = append(lines, "none")
	case len(rows) < all:
		lines = append(lines, fmt.Sprintf("… %d more", all-len(rows)))
	}
	return lines
}

// short is a number in at most five characters.
func short(n float64) string {
	for _, unit := range []string{"", "k", "M", "G"} {
		switch {
		case n >= 999.5:
			n /= 1000
			continue
		case n == float64(int64(n)) && unit == "":
			return strconv.FormatInt(int64(n), 10)
		case n < 99.95:
			return strconv.FormatFloat(n, 'f', 1, 64) + unit
		}
		return strconv.FormatFloat(n, 'f', 0, 64) + unit
	}
	return strconv.FormatFloat(n, 'f', 0, 64) + "T"
}

// age is a duration in few characters.
func age(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 100*time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// watch shows looks on the terminal until q.
func (p *program) watch(ctx context.Context, client *pawl.Client, first topLook, interval time.Duration) error {
	screen := &topScreen{
		look: first, interval: interval, title: "pawl top  schema " + p.settled.Schema,
		around: func() (topLook, error) {
			ctx, cancel := context.WithTimeout(ctx, max(10*time.Second, interval))
			defer cancel()
			return lookAround(ctx, client)
		},
	}
	_, err := tea.NewProgram(screen, tea.WithContext(ctx), tea.WithInput(p.stdin), tea.WithOutput(p.stdout), tea.WithoutSignalHandler()).Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, tea.ErrInterrupted) {
		err = nil
	}
	return err
}

// topScreen is what top shows.
type topScreen struct {
	look          topLook
	failed        error // Of the last look.
	title         string
	interval      time.Duration
	around        func() (topLook, error)
	width, height int
}

type topLooked struct {
	look topLook
	err  error
}

type topTick struct{}

func (s *topScreen) tick() tea.Cmd {
	return tea.Tick(s.interval, func(time.Time) tea.Msg { return topTick{} })
}

func (s *topScreen) Init() tea.Cmd { return s.tick() }

func (s *topScreen) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = message.Width, message.Height
	case tea.KeyPressMsg:
		switch message.String() {
		case "q", "Q", "esc", "ctrl+c":
			return s, tea.Quit
		}
	case topTick:
		return s, func() tea.Msg {
			look, err := s.around()
			return topLooked{look, err}
		}
	case topLooked:
		if s.failed = message.err; s.failed == nil {
			s.look = message.look
		}
		return s, s.tick()
	}
	return s, nil
}

func (s *topScreen) View() tea.View {
	view := tea.View{AltScreen: true, WindowTitle: s.title}
	if s.width == 0 || s.height == 0 {
		return view
	}
	title := s.title + "  every " + formatDuration(s.interval) + "  q: quit"
	if s.failed != nil {
		title = printable("no answer, trying again: " + s.failed.Error())
	}
	lines := append([]string{bold.Render(ansi.Truncate(title, s.width, "…"))}, s.look.lines(s.width, s.height-1)...)
	view.Content = strings.Join(lines[:min(len(lines), s.height)], "\n")
	return view
}
