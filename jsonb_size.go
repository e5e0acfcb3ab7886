package pawl

import (
	"bytes"
	"encoding/base64"
	"fmt"
)

// The limits of jsonb. A value above them is refused by the server with SQLSTATE 54000, or is too large for its memory
// while it is read.
const (
	maxJSONB    = 1<<28 - 1 // Bytes of a value: an entry of a container has 28 bits for offsets.
	maxElements = 1 << 24   // Elements of one array.
	maxPairs    = 1 << 23   // Members of one object.

	// alwaysStorable is a size of JSON below which nothing exceeds these limits: each element has at least two bytes of
	// JSON and at most twelve of jsonb.
	alwaysStorable = 32 << 20
)

// checkStorable returns why jsonb cannot hold valid JSON because of its size, or "".
func checkStorable(b []byte) (reason string) {
	m := jsonbMeter{b: b}
	m.value()
	return m.refuse(maxJSONB, maxElements, maxPairs)
}

func (m *jsonbMeter) refuse(size, elements, pairs int) (reason string) {
	switch {
	case m.elements > elements:
		return fmt.Sprintf("have an array of %d elements; PostgreSQL's jsonb takes at most %d", m.elements, elements)
	case m.pairs > pairs:
		return fmt.Sprintf("have an object of %d members; PostgreSQL's jsonb takes at most %d", m.pairs, pairs)
	case m.size > size:
		return fmt.Sprintf("take %d bytes as jsonb, in which each element has a header; PostgreSQL takes at most %d",
			m.size, size)
	}
	return ""
}

// checkChange returns why a change of a job cannot have these args and data, or "". A change is one value of jsonb, in
// which data is base64.
func checkChange(args *string, data []byte) (reason string) {
	const most = maxJSONB - 4096 // The change has other fields too.
	text, size := "", base64.StdEncoding.EncodedLen(len(data))
	if args != nil {
		text = *args
	}
	if size+6*len(text) > most {
		m := jsonbMeter{b: []byte(text)}
		if m.value(); size+m.size > most {
			return fmt.Sprintf("and Data take %d bytes together; a change of a job takes at most %d", size+m.size, most)
		}
	}
	return ""
}

// A jsonbMeter measures what valid JSON takes as jsonb.
type jsonbMeter struct {
	b  []byte
	at int

	size            int // Bytes so far. If an object has a key twice, both members count.
	elements, pairs int // The most of one container.
}

const (
	entryBytes  = 4 // The header of a container, and of each of its elements, keys and values.
	numberBytes = 6 // The header of a number. Each group of up to four digits takes two more.
)

// value measures the value at the meter's place, and goes to its end.
func (m *jsonbMeter) value() {
	m.skipSpace()
	if m.at >= len(m.b) {
		return
	}
	switch c := m.b[m.at]; {
	case c == '{' || c == '[':
		m.container(c == '{')
	case c == '"':
		m.size += m.text()
	case c == '-' || c >= '0' && c <= '9':
		n := numberLength(m.b[m.at:])
		whole, fraction, _ := bytes.Cut(bytes.TrimLeft(m.b[m.at:m.at+n], "-0"), []byte{'.'})
		m.align()
		m.size += numberBytes + 2*((len(whole)+3)/4+(len(fraction)+3)/4)
		m.at += n
	default: // true, false or null: its header is all.
		for m.at < len(m.b) && m.b[m.at] >= 'a' && m.b[m.at] <= 'z' {
			m.at++
		}
	}
}

// container measures an object or an array.
func (m *jsonbMeter) container(object bool) {
	m.at++
	m.align()
	m.size += entryBytes
	keys := 0 // They come before the values.
	defer func() { m.size += keys }()
	for n := 0; m.at < len(m.b); {
		m.skipSpace()
		if m.at >= len(m.b) {
			return
		}
		switch m.b[m.at] {
		case '}', ']':
			m.at++
			return
		case ',':
			m.at++
			continue
		}
		n++
		m.size += entryBytes
		if object {
			m.pairs = max(m.pairs, n)
			m.size += entryBytes
			keys += m.text()
			m.skipSpace()
			m.at++ // The colon.
		} else {
			m.elements = max(m.elements, n)
		}
		before := m.at
		m.value()
		if m.at == before { // It is no valid JSON.
			m.at = len(m.b)
		}
	}
}

// text goes to the end of a string and returns its size, without escapes.
func (m *jsonbMeter) text() int {
	text, end := unquote(m.b, m.at)
	m.at = end
	return len(text)
}

func (m *jsonbMeter) align() { m.size = (m.size + 3) &^ 3 }

func (m *jsonbMeter) skipSpace() {
	for m.at < len(m.b) && (m.b[m.at] == ' ' || m.b[m.at] == '\n' || m.b[m.at] == '\t' || m.b[m.at] == '\r') {
		m.at++
	}
}
