// Package program holds what every command needs: settings, connections to the database, input, output and
// confirmation.
package program

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
)

// A Program is one run of the pawl command.
type Program struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	ConfigFile string // The flag --config.
	OutFile    string // The flag --out.
	Yes        bool   // The flag --yes.

	Settings *settings.Settings // Set by LoadSettings, and so by Logger, Output, Open and Connect.
	Log      *slog.Logger       // Set by Logger, and so by Open.

	command *cobra.Command // The command that runs.
	started bool           // The command's RunE has begun.
	printer *output.Printer
	closers []func() error
}

// LoadSettings reads the settings the first time it is called.
func (p *Program) LoadSettings() (*settings.Settings, error) {
	if p.Settings != nil {
		return p.Settings, nil
	}
	s, err := settings.Load(p.command, p.ConfigFile)
	if err != nil {
		return nil, exit.Usage(err)
	}
	p.Settings = s
	return s, nil
}

// Started reports whether a command has begun to run.
func (p *Program) Started() bool { return p.started }

// FlagChanged reports whether a flag of the command was given.
func (p *Program) FlagChanged(name string) bool { return p.command.Flag(name).Changed }

// OnEnd registers a function that Close calls. Close calls the last one first.
func (p *Program) OnEnd(do func() error) { p.closers = append(p.closers, do) }

// Close ends what the command has opened. It returns err, or else the first error of its own.
func (p *Program) Close(err error) error {
	for i := len(p.closers) - 1; i >= 0; i-- {
		if failed := p.closers[i](); err == nil {
			err = failed
		}
	}
	p.closers = nil
	return err
}

// Logger returns the logger that --log-dest and --log-level describe.
func (p *Program) Logger() (*slog.Logger, error) {
	if p.Log != nil {
		return p.Log, nil
	}
	s, err := p.LoadSettings()
	if err != nil {
		return nil, err
	}
	w := p.Stderr
	switch s.LogDest {
	case "stderr":
	case "stdout":
		w = p.Stdout
	default:
		file, err := os.OpenFile(s.LogDest, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("log_dest (%s): %w", s.Origin("log_dest"), err)
		}
		p.OnEnd(file.Close)
		w = file
	}
	p.Log = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: s.LogLevel}))
	return p.Log, nil
}
