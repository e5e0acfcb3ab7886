package subprocess

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
)

const (
	maxResult = 1 << 20 // In bytes: the library accepts no more.
	maxStderr = 3000    // In bytes: the end of standard error that becomes the error of an attempt.
)

// resultOf returns standard output as JSON: null if it is empty, itself if it is JSON, else a string.
func resultOf(stdout []byte) json.RawMessage {
	stdout = bytes.TrimSpace(stdout)
	switch {
	case len(stdout) == 0:
		return json.RawMessage("null")
	case json.Valid(stdout):
		return stdout
	}
	text := strings.ReplaceAll(strings.ToValidUTF8(string(stdout), "\ufffd"), "\x00", "\ufffd")
	b, _ := output.MarshalJSON(text)
	return b
}

// limitedBuffer keeps the first maxResult bytes.
type limitedBuffer struct {
	text     []byte
	exceeded bool
}

func (b *limitedBuffer) Write(some []byte) (int, error) {
	fit := min(len(some), maxResult-len(b.text))
	b.text = append(b.text, some[:fit]...)
	b.exceeded = b.exceeded || fit < len(some)
	return len(some), nil
}

// tailBuffer keeps the last bytes, up to a limit.
type tailBuffer struct {
	limit int
	text  []byte
	cut   bool
}

func (b *tailBuffer) Write(some []byte) (int, error) {
	b.text = append(b.text, some...)
	if over := len(b.text) - b.limit; over > 0 {
		b.text = append(b.text[:0], b.text[over:]...)
		b.cut = true
	}
	return len(some), nil
}

func (b *tailBuffer) String() string {
	text := b.text
	for b.cut && len(text) > 0 && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	trimmed := strings.TrimSpace(string(text))
	if b.cut {
		trimmed = "… " + trimmed
	}
	return trimmed
}

// LockedWriter lets several programs write to one writer.
type LockedWriter struct {
	mu sync.Mutex
	to io.Writer
}

// NewLockedWriter returns a LockedWriter.
func NewLockedWriter(to io.Writer) *LockedWriter { return &LockedWriter{to: to} }

func (w *LockedWriter) Write(some []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(some)
}
