package main

import (
	"strings"
	"testing"
)

// A problem is wrapped between words. A remedy is not wrapped, so that users can copy it. Control characters are
// escaped.
func TestWriteParagraphs(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	remedy := "alter table pawl.archive_chunk detach partition pawl.archive_20200101 concurrently; drop table pawl.archive_20200101"
	err := writeParagraphs(&out, []violation{
		{Check: "archive", Problem: "1 partition of the archive is past its day and not dropped", Remedy: remedy},
		{Check: "queue", Problem: "queue 'a\x1b[31m': no worker runs it", Remedy: "a worker", Fatal: true},
		{Check: "index", Problem: "index x is missing", Remedy: "create it", Fatal: true, Repaired: true},
	}, 40)
	if err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"1 partition of the archive is past its\nday", "Remedy: " + remedy + "\n\n", "queue, fatal\n", `'a\x1b[31m'`,
		"index, repaired\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}
