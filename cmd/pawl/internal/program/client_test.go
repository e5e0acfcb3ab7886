package program

import (
	"errors"
	"testing"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
)

func TestExplainSchema(t *testing.T) {
	t.Setenv("PAWL_SCHEMA", "jobs")
	loaded, err := settings.Load(nil, "")
	if err != nil {
		t.Fatal(err)
	}
	p := &Program{Settings: loaded}
	for _, c := range []struct {
		have, want int
		text       string
	}{
		{0, 5, "Pawl is not installed in the schema jobs; to install it: pawl install"},
		{3, 5, "the schema jobs is at version 3, older than this pawl's 5; to upgrade it: pawl migrate"},
		{6, 5, "the schema jobs is at version 6, newer than this pawl's 5: use a newer pawl"},
	} {
		cause := &pawl.SchemaError{Have: c.have, Want: c.want}
		err := p.ExplainSchema(cause)
		if err.Error() != c.text {
			t.Errorf("version %d of %d: got %q, want %q", c.have, c.want, err, c.text)
		}
		if !errors.Is(err, cause) {
			t.Errorf("version %d of %d: the error does not wrap its cause", c.have, c.want)
		}
	}
}
