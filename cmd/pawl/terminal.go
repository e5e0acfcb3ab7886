package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// isTerminal says whether a reader or writer is one.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// outputWidth is how many columns a writer has; 0 if it is not a terminal that can be drawn on.
func outputWidth(stream any) int {
	if !isTerminal(stream) || os.Getenv("TERM") == "dumb" {
		return 0
	}
	width, _, err := term.GetSize(int(stream.(*os.File).Fd()))
	if err != nil || width < 1 {
		return 0
	}
	return width
}

// confirm asks before something that cannot be undone, which is said as in "delete 12 jobs of queue mail". Without --yes and a
// terminal to ask on it is refused.
func (p *program) confirm(ctx context.Context, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if p.yes {
		return nil
	}
	if !isTerminal(p.stdin) {
		return fmt.Errorf("this would %s: %w; give --yes to do it without being asked", what, errRefused)
	}
	fmt.Fprintf(p.stderr, "This will %s. Go on? [y/N] ", what)
	answered := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(p.stdin).ReadString('\n') // Nobody else reads; ^C does not end it.
		answered <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(p.stderr)
		return ctx.Err()
	case answer := <-answered:
		if answer != "y" && answer != "yes" {
			return errRefused
		}
		return nil
	}
}

// counted is "1 job", "2 jobs", "12,345 jobs".
func counted(n int64, noun string) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if n != 1 {
		noun += "s"
	}
	return digits + " " + noun
}

// patience says on a terminal why something takes long, when it does. The caller ends it.
func (p *program) patience(why string) (end func()) {
	if outputWidth(p.stderr) == 0 {
		return func() {}
	}
	timer := time.AfterFunc(2*time.Second, func() { fmt.Fprintln(p.stderr, why) })
	return func() { timer.Stop() }
}

// progress shows how far long work is, on standard error if that is a terminal and nowhere else.
type progress struct {
	all *mpb.Progress // Nil: not shown.
	bar *mpb.Bar
}

// progress starts a bar; total 0 is not known. The caller ends it.
func (p *program) progress(name string, total int64) *progress {
	count := decor.CountersNoUnit("%d/%d")
	if total <= 0 {
		count = decor.CurrentNoUnit("%d")
	}
	return p.progressBar(name, total, count)
}

// progressOfBytes is progress through a file.
func (p *program) progressOfBytes(name string, total int64) *progress {
	return p.progressBar(name, total, decor.CountersKibiByte("% .1f/% .1f"))
}

func (p *program) progressBar(name string, total int64, count decor.Decorator) *progress {
	width := outputWidth(p.stderr)
	if width == 0 {
		return &progress{}
	}
	all := mpb.New(mpb.WithOutput(p.stderr), mpb.WithWidth(min(40, width)))
	return &progress{all, all.AddBar(max(total, 0), mpb.PrependDecorators(decor.Name(name+" ")), mpb.AppendDecorators(count))}
}

func (p *progress) add(n int64) {
	if p.bar != nil {
		p.bar.IncrInt64(n)
	}
}

func (p *progress) end() {
	if p.bar != nil {
		p.bar.Abort(false) // Nothing, if it is full.
		p.all.Wait()
	}
}
