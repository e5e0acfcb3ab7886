package inspect

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pawlhq/pawl/internal/migrate"
)

func TestAbridgeNamesTenAndCountsTheRest(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprint(i))
	}
	if got := abridge(names[:10]); got != "0, 1, 2, 3, 4, 5, 6, 7, 8, 9" {
		t.Errorf("ten names: %q", got)
	}
	if got := abridge(names); got != "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more" {
		t.Errorf("twelve names: %q", got)
	}
}

func TestASecondLookKeepsOnlyRowsOfBothLooks(t *testing.T) {
	t.Parallel()
	first := &violation{count: 3, rows: []brokenRow{{id: 1}, {id: 2}, {lease: "a"}}}
	first.intersect(&violation{count: 3, rows: []brokenRow{{id: 2}, {id: 3}, {lease: "a"}}})
	if want := []brokenRow{{id: 2}, {lease: "a"}}; !slices.Equal(first.rows, want) || first.count != 2 {
		t.Errorf("%d rows %v, want %v", first.count, first.rows, want)
	}
}

// If there are more rows than a look keeps, only their number is known, and it must not become zero.
func TestASecondLookKeepsTheCountOfManyRows(t *testing.T) {
	t.Parallel()
	first := &violation{count: confirmedRows + 5, rows: []brokenRow{{id: 1}}}
	first.intersect(&violation{count: confirmedRows + 3, rows: []brokenRow{{id: 2}}})
	if first.count != confirmedRows+3 || len(first.rows) != 0 {
		t.Errorf("%d rows %v", first.count, first.rows)
	}
}

func TestExamplesNameAtMostFiveRows(t *testing.T) {
	t.Parallel()
	v := &violation{count: 6}
	for id := range int64(6) {
		v.rows = append(v.rows, brokenRow{id: id})
	}
	if got := v.examples(); got != "such as 0, 1, 2, 3, 4" {
		t.Errorf("six rows: %q", got)
	}
	if got := (&violation{count: 2, rows: []brokenRow{{id: 7}, {lease: "a"}}}).examples(); got != "7, a" {
		t.Errorf("two rows: %q", got)
	}
}

func TestMergeMarksWhatASecondLookDoesNotFindAsRepaired(t *testing.T) {
	t.Parallel()
	index := func(name string) fault { return fault{Finding: Finding{Check: "index"}, object: name} }
	report := merge(nil, []fault{index("a"), index("b")})
	report = merge(report, []fault{index("b"), index("c")})
	var got []string
	for _, f := range report {
		got = append(got, fmt.Sprint(f.object, f.Repaired))
	}
	if want := []string{"atrue", "bfalse", "cfalse"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestChangedSettingsIgnoreOrderAndAutovacuumEnabled(t *testing.T) {
	t.Parallel()
	in := &Installation{Schema: "pawl"}
	same := migrate.Difference{Name: "job", Want: "fillfactor=50, a=1", Have: "a=1, autovacuum_enabled=off, fillfactor=50"}
	if got := in.changedSettings(same); len(got) > 0 {
		t.Errorf("no change: %+v", got)
	}
	changed := migrate.Difference{Name: "job", Want: "fillfactor=50", Have: "a=1"}
	got := in.changedSettings(changed)
	if len(got) != 1 || got[0].Remedy != "alter table pawl.job set (fillfactor = 50), reset (a)" {
		t.Errorf("a change: %+v", got)
	}
}
