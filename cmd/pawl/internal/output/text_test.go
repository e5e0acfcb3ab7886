package output

import "testing"

func TestReflowAndHang(t *testing.T) {
	t.Parallel()
	text := Reflow("A paragraph of words,\nwhich goes on.\n\nAnother:\n  entry  with words that do not fit\n"+
		"      --flag word   and what it says\n", 24)
	want := "A paragraph of words,\nwhich goes on.\n\nAnother:\n  entry  with words that\n         do not fit\n" +
		"      --flag word and\n      what it says\n"
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	if got, want := Hang("      --flag word   and what it says", 40), "      --flag word   and what it says"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got := Hang("  -c, --config string   file of settings, which may be missing", 50)
	want = "  -c, --config string   file of settings, which\n                        may be missing"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
