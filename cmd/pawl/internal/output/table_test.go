package output

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"charm.land/lipgloss/v2"
)

func TestFit(t *testing.T) {
	t.Parallel()
	lines := [][]string{
		{"ID", "STATE", "FINISHED AT", "PROBLEM"},
		{"1", "cancelled", "13:00:47", strings.Repeat("größere 日本 Worte ", 5)},
		{"4611686018427387905", "dead", "", "short"},
	}
	columns := make([]column, 4)
	for _, width := range []int{200, 120, 80, 60, 40, 29} {
		fitted := fit(lines, width)
		text := box(columns, fitted)
		if got := lipgloss.Width(text); got > width {
			t.Errorf("%d columns: the box has %d\n%s", width, got, text)
		}
		for i, line := range fitted[1:] {
			for j, cell := range line {
				bare := func(text string) string { return strings.Join(strings.Fields(text), "") }
				if bare(cell) != bare(lines[i+1][j]) {
					t.Errorf("%d columns: %q became %q", width, lines[i+1][j], cell)
				}
			}
		}
	}
	if got := fit(lines, 80); got[0][2] != "FINISHE…" || got[1][1] != "cancelled" {
		t.Errorf("want titles cut before cells are wrapped, got %q", got[:2])
	}
	sparse := [][]string{{"A", "B", "C"}, {"1", "", ""}, {"", "", "2"}}
	some, cut := filled(columns[:3], sparse, func(column) bool { return true })
	if len(some) != 2 || strings.Join(cut[0], "") != "AC" || strings.Join(cut[2], ",") != ",2" {
		t.Errorf("without empty columns: %v, %q", some, cut)
	}
}

// A long cell widens no other line, and a terminal cuts it. The column of a mark is shown only if a row is marked.
func TestLongCellsAndMarks(t *testing.T) {
	t.Parallel()
	type row struct {
		Text  string `json:"text"`
		N     int    `json:"n"`
		About Mark   `json:"about"`
	}
	rows := []row{{Text: strings.Repeat("x", 10_000), N: 1}, {Text: "y", N: 2, About: true}}
	var out bytes.Buffer
	p := &Printer{Out: &out, Format: "table"}
	if err := p.Print(rows); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines[1]) < 10_000 || len(lines[2]) > 200 || !strings.HasSuffix(lines[2], "  yes") ||
		!strings.HasSuffix(lines[1], "  1") {
		t.Errorf("lines of %d and %d bytes, the second %q", len(lines[1]), len(lines[2]), lines[2])
	}
	if n := len([]rune(screenCell(reflect.ValueOf(rows[0].Text)))); n != maxCellWidth {
		t.Errorf("on a terminal a cell has %d columns, want %d", n, maxCellWidth)
	}
	for format, want := range map[string]string{
		"table": "TEXT  N\nz     3\n",
		"yaml":  "- text: z\n  \"n\": 3\n  about: false\n",
		"csv":   "text,n,about\nz,3,false\n",
	} {
		out.Reset()
		p = &Printer{Out: &out, Format: format}
		if err := p.Print([]row{{Text: "z", N: 3}}); err != nil || out.String() != want {
			t.Errorf("%s: %v, %q, want %q", format, err, out.String(), want)
		}
	}
}
