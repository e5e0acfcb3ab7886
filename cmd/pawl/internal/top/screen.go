package top

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
)

// Config describes a terminal that shows snapshots.
type Config struct {
	Title    string
	Interval time.Duration // Between two snapshots.
	In       io.Reader
	Out      io.Writer
}

// Watch shows snapshots on a terminal until the user quits or ctx ends.
func Watch(ctx context.Context, client *pawl.Client, first Snapshot, config Config) error {
	screen := &screen{
		snapshot: first, interval: config.Interval, title: config.Title,
		take: func() (Snapshot, error) {
			ctx, cancel := context.WithTimeout(ctx, max(10*time.Second, config.Interval))
			defer cancel()
			return Take(ctx, client)
		},
	}
	_, err := tea.NewProgram(screen, tea.WithContext(ctx), tea.WithInput(config.In), tea.WithOutput(config.Out),
		tea.WithoutSignalHandler()).Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, tea.ErrInterrupted) {
		err = nil
	}
	return err
}

type screen struct {
	snapshot      Snapshot
	err           error // The error of the last attempt to take a snapshot.
	title         string
	interval      time.Duration
	take          func() (Snapshot, error)
	width, height int
}

type taken struct {
	snapshot Snapshot
	err      error
}

type tick struct{}

func (s *screen) nextTick() tea.Cmd {
	return tea.Tick(s.interval, func(time.Time) tea.Msg { return tick{} })
}

// Init starts the first interval.
func (s *screen) Init() tea.Cmd { return s.nextTick() }

// Update handles a key, a new size, the end of an interval or a new snapshot.
func (s *screen) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = message.Width, message.Height
	case tea.KeyPressMsg:
		switch message.String() {
		case "q", "Q", "esc", "ctrl+c":
			return s, tea.Quit
		}
	case tick:
		return s, func() tea.Msg {
			snapshot, err := s.take()
			return taken{snapshot, err}
		}
	case taken:
		if s.err = message.err; s.err == nil {
			s.snapshot = message.snapshot
		}
		return s, s.nextTick()
	}
	return s, nil
}

// View draws the title, or the last error in its place, and the snapshot.
func (s *screen) View() tea.View {
	view := tea.View{AltScreen: true, WindowTitle: s.title}
	if s.width == 0 || s.height == 0 {
		return view
	}
	title := s.title + "  every " + flagvalue.FormatDuration(s.interval) + "  q: quit"
	if s.err != nil {
		title = output.Printable("no answer, trying again: " + s.err.Error())
	}
	lines := []string{output.Bold.Render(ansi.Truncate(title, s.width, "…"))}
	lines = append(lines, s.snapshot.Lines(s.width, s.height-1)...)
	view.Content = strings.Join(lines[:min(len(lines), s.height)], "\n")
	return view
}
