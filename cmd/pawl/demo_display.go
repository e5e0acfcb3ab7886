package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// demoDisplay shows how far the jobs are.
type demoDisplay interface {
	show(tally)
	say(format string, args ...any) // A line that stays.
	end()
}

func newDemoDisplay(out io.Writer, load *demoLoad) demoDisplay {
	if width := outputWidth(out); width > 0 {
		return newDemoBars(out, load, width)
	}
	return &demoLines{out: out, load: load, began: time.Now()}
}

type demoBars struct {
	all   *mpb.Progress
	bars  map[string]*mpb.Bar
	width int
}

func newDemoBars(out io.Writer, load *demoLoad, width int) *demoBars {
	b := &demoBars{
		all:  mpb.New(mpb.WithOutput(out), mpb.WithWidth(min(40, width)), mpb.WithRefreshRate(100*time.Millisecond)),
		bars: map[string]*mpb.Bar{}, width: width,
	}
	for _, kind := range demoKinds {
		b.bars[kind] = b.all.AddBar(int64(load.want[kind]),
			mpb.PrependDecorators(decor.Name(kind, decor.WC{W: 10, C: decor.DindentRight})),
			mpb.AppendDecorators(decor.CountersNoUnit("%d/%d", decor.WC{W: 10})))
	}
	return b
}

func (b *demoBars) show(t tally) {
	for kind, bar := range b.bars {
		bar.SetCurrent(int64(t.finished[kind]))
	}
}

func (b *demoBars) say(format string, args ...any) {
	io.WriteString(b.all, wrapped(b.width, fmt.Sprintf(format, args...))) // Above the bars; an error: they have ended.
}

func (b *demoBars) end() {
	for _, bar := range b.bars {
		bar.Abort(false) // Nothing, if it is full.
	}
	b.all.Wait()
}

// demoLines is for pipes and files: a line a second.
type demoLines struct {
	out   io.Writer
	load  *demoLoad
	began time.Time

	mu   sync.Mutex
	next time.Duration
}

func (l *demoLines) show(t tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	passed := time.Since(l.began)
	if passed < l.next {
		return
	}
	l.next = passed.Truncate(time.Second) + time.Second
	var b strings.Builder
	for _, kind := range demoKinds {
		fmt.Fprintf(&b, "  %s %d/%d", kind, t.finished[kind], l.load.want[kind])
	}
	fmt.Fprintf(l.out, "%3.0f s%s\n", passed.Seconds(), b.String())
}

func (l *demoLines) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, format+"\n", args...)
}

func (*demoLines) end() {}
