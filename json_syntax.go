package pawl

import "bytes"

// maxNesting is how deep arrays and objects may be nested, as in encoding/json.
const maxNesting = 10_000

// validJSON is json.Valid, several times as fast: that function calls another one for each byte. FuzzValidJSON compares
// the two.
func validJSON(b []byte) bool {
	p := jsonParser{b: b}
	p.space()
	if !p.value(0) {
		return false
	}
	p.space()
	return p.at == len(b)
}

// A jsonParser reads JSON. Each method but peek and space reports whether what it is named after is at the parser's
// place, and goes to its end.
type jsonParser struct {
	b  []byte
	at int
}

// peek returns the next byte, or 0 at the end.
func (p *jsonParser) peek() byte {
	if p.at < len(p.b) {
		return p.b[p.at]
	}
	return 0
}

func (p *jsonParser) space() {
	for p.at < len(p.b) {
		switch p.b[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *jsonParser) take(c byte) bool {
	if p.peek() == c && p.at < len(p.b) {
		p.at++
		return true
	}
	return false
}

func (p *jsonParser) value(depth int) bool {
	switch c := p.peek(); c {
	case '{', '[':
		return depth < maxNesting && p.container(c == '{', depth+1)
	case '"':
		return p.text()
	case 't':
		return p.word("true")
	case 'f':
		return p.word("false")
	case 'n':
		return p.word("null")
	default:
		return p.number()
	}
}

func (p *jsonParser) container(object bool, depth int) bool {
	end := byte(']')
	if object {
		end = '}'
	}
	p.at++
	p.space()
	if p.take(end) {
		return true
	}
	for {
		if object {
			if !p.text() {
				return false
			}
			if p.space(); !p.take(':') {
				return false
			}
			p.space()
		}
		if !p.value(depth) {
			return false
		}
		p.space()
		if p.take(end) {
			return true
		}
		if !p.take(',') {
			return false
		}
		p.space()
	}
}

func (p *jsonParser) text() bool {
	if !p.take('"') {
		return false
	}
	for i := p.at; i < len(p.b); i++ {
		switch c := p.b[i]; {
		case c == '"':
			p.at = i + 1
			return true
		case c < ' ':
			return false
		case c == '\\':
			if i++; i >= len(p.b) {
				return false
			}
			if p.b[i] == 'u' {
				if _, ok := unicodeEscape(p.b[i-1:]); !ok {
					return false
				}
				i += 4
			} else if bytes.IndexByte([]byte(`"\/bfnrt`), p.b[i]) < 0 {
				return false
			}
		}
	}
	return false
}

func (p *jsonParser) word(text string) bool {
	if !bytes.HasPrefix(p.b[p.at:], []byte(text)) {
		return false
	}
	p.at += len(text)
	return true
}

func (p *jsonParser) number() bool {
	p.take('-')
	if !p.take('0') && !p.digits() {
		return false
	}
	if p.take('.') && !p.digits() {
		return false
	}
	if p.take('e') || p.take('E') {
		if !p.take('+') {
			p.take('-')
		}
		return p.digits()
	}
	return true
}

func (p *jsonParser) digits() bool {
	from := p.at
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.at > from
}
