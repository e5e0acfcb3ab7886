package program

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
)

// Input returns standard input. Its Read returns an error when the command is interrupted.
func (p *Program) Input() io.Reader { return &interruptible{p.command.Context(), p.Stdin} }

// ReadArgument returns what an argument stands for: the content of a file for @FILE, standard input for -, else the
// text.
func (p *Program) ReadArgument(text string) ([]byte, error) {
	if text == "-" {
		return io.ReadAll(p.Input())
	}
	if file, ok := strings.CutPrefix(text, "@"); ok {
		return os.ReadFile(file)
	}
	return []byte(text), nil
}

// Confirm asks before a command does something that cannot be undone. The text describes it, as in "delete 12 jobs of
// queue mail". Confirm refuses if standard input is not a terminal and --yes was not given.
func (p *Program) Confirm(ctx context.Context, format string, args ...any) error {
	action := fmt.Sprintf(format, args...)
	if p.Yes {
		return nil
	}
	if !output.IsTerminal(p.Stdin) {
		return fmt.Errorf("this would %s: %w; use --yes to do it without confirmation", action, exit.ErrRefused)
	}
	fmt.Fprintf(p.Stderr, "This will %s. Continue? [y/N] ", action)
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(p.Stdin).ReadString('\n') // ^C does not end this read.
		line <- strings.ToLower(strings.TrimSpace(text))
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(p.Stderr)
		return ctx.Err()
	case text := <-line:
		if text != "y" && text != "yes" {
			return exit.ErrRefused
		}
		return nil
	}
}

type interruptible struct {
	ctx  context.Context
	from io.Reader
}

func (r *interruptible) Read(to []byte) (int, error) {
	type result struct {
		bytes []byte
		err   error
	}
	read := make(chan result, 1)
	go func() {
		bytes := make([]byte, len(to)) // Not to: the caller may have returned when the read ends.
		n, err := r.from.Read(bytes)
		read <- result{bytes[:n], err}
	}()
	select {
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	case result := <-read:
		return copy(to, result.bytes), result.err
	}
}
