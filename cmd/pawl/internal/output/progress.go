package output

import (
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Progress is a progress bar. It shows nothing if its writer is not a terminal.
type Progress struct {
	all *mpb.Progress // Nil if nothing is shown.
	bar *mpb.Bar
}

// NewProgress starts a bar. A total of 0 means that the total is unknown. The caller calls End.
func NewProgress(terminal io.Writer, name string, total int64) *Progress {
	count := decor.CountersNoUnit("%d/%d")
	if total <= 0 {
		count = decor.CurrentNoUnit("%d")
	}
	return newBar(terminal, name, total, count)
}

// NewByteProgress starts a bar that shows progress through a file, in bytes.
func NewByteProgress(terminal io.Writer, name string, total int64) *Progress {
	return newBar(terminal, name, total, decor.CountersKibiByte("% .1f/% .1f"))
}

func newBar(terminal io.Writer, name string, total int64, count decor.Decorator) *Progress {
	width := Width(terminal)
	if width == 0 {
		return &Progress{}
	}
	all := mpb.New(mpb.WithOutput(terminal), mpb.WithWidth(min(40, width)))
	bar := all.AddBar(max(total, 0), mpb.PrependDecorators(decor.Name(name+" ")), mpb.AppendDecorators(count))
	return &Progress{all, bar}
}

// Add advances the bar.
func (p *Progress) Add(n int64) {
	if p.bar != nil {
		p.bar.IncrInt64(n)
	}
}

// End removes the bar.
func (p *Progress) End() {
	if p.bar != nil {
		p.bar.Abort(false) // It has no effect on a full bar.
		p.all.Wait()
	}
}
