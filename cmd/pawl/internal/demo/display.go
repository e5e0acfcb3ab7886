package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
)

// A display shows progress.
type display interface {
	show(counts)
	say(format string, args ...any) // Print a line that stays.
	end()
}

func newDisplay(out io.Writer, load *load) display {
	if width := output.Width(out); width > 0 {
		return newBars(out, load, width)
	}
	return &lines{out: out, load: load, began: time.Now()}
}

type bars struct {
	all    *mpb.Progress
	byKind map[string]*mpb.Bar
	width  int
}

func newBars(out io.Writer, load *load, width int) *bars {
	b := &bars{
		all:    mpb.New(mpb.WithOutput(out), mpb.WithWidth(min(40, width)), mpb.WithRefreshRate(100*time.Millisecond)),
		byKind: map[string]*mpb.Bar{}, width: width,
	}
	for _, kind := range kinds {
		b.byKind[kind] = b.all.AddBar(int64(load.want[kind]),
			mpb.PrependDecorators(decor.Name(kind, decor.WC{W: 10, C: decor.DindentRight})),
			mpb.AppendDecorators(decor.CountersNoUnit("%d/%d", decor.WC{W: 10})))
	}
	return b
}

func (b *bars) show(c counts) {
	for kind, bar := range b.byKind {
		bar.SetCurrent(int64(c.finished[kind]))
	}
}

func (b *bars) say(format string, args ...any) {
	// The line appears above the bars. Writing fails if the bars have ended.
	_, _ = io.WriteString(b.all, wrapped(b.width, fmt.Sprintf(format, args...)))
}

func (b *bars) end() {
	for _, bar := range b.byKind {
		bar.Abort(false) // It has no effect on a full bar.
	}
	b.all.Wait()
}

// lines shows progress in a pipe or a file, as one line per second.
type lines struct {
	out   io.Writer
	load  *load
	began time.Time

	mu   sync.Mutex
	next time.Duration
}

func (l *lines) show(c counts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	passed := time.Since(l.began)
	if passed < l.next {
		return
	}
	l.next = passed.Truncate(time.Second) + time.Second
	var b strings.Builder
	for _, kind := range kinds {
		fmt.Fprintf(&b, "  %s %d/%d", kind, c.finished[kind], l.load.want[kind])
	}
	fmt.Fprintf(l.out, "%3.0f s%s\n", passed.Seconds(), b.String())
}

func (l *lines) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, format+"\n", args...)
}

func (*lines) end() {}
