package inspect

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documented returns the checks in the table under a heading of docs/doctor.md.
func documented(t *testing.T, heading string) (checks []string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/doctor.md has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(section, -1) {
		checks = append(checks, row[1])
	}
	slices.Sort(checks)
	return checks
}

func TestDocsListTheChecksOfVerify(t *testing.T) {
	t.Parallel()
	checks := []string{
		"schema", "table", "column", "index", "function", "sequence", "partition", "privilege", "lock", "unseen",
	}
	for _, kind := range violationKinds {
		checks = append(checks, kind.check)
	}
	slices.Sort(checks)
	if got := documented(t, "What Verify finds"); !slices.Equal(got, checks) {
		t.Errorf("documented are %q, want %q", got, checks)
	}
}

func TestDocsListTheChecksOfDoctor(t *testing.T) {
	t.Parallel()
	checks := []string{"index", "partition", "pooler", "unseen"} // Findings of a check with another name.
	for _, check := range new(Installation).checks(DefaultThresholds) {
		checks = append(checks, check.name)
	}
	slices.Sort(checks)
	if got := documented(t, "What Doctor finds"); !slices.Equal(got, checks) {
		t.Errorf("documented are %q, want %q", got, checks)
	}
}
