package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/queuepolicy"
	"github.com/pawlhq/pawl/cmd/pawl/internal/view"
)

// docs/cli.md lists the fields of every row: in braces, in their order.
func TestRowsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	var lists []string
	for _, found := range regexp.MustCompile(`\{([a-z_]+(?:,\s+[a-z_]+)*)\}`).FindAllStringSubmatch(string(text), -1) {
		lists = append(lists, strings.Join(strings.Fields(found[1]), " "))
	}
	for _, row := range []any{
		installed{}, uninstalled{}, violation{}, insertedJob{}, insertedJobs{}, validJobs{}, view.Job{}, view.JobError{},
		jobEvent{}, queueRow{}, pausedQueue{}, channelRow{}, view.Message{}, view.FinishedMessage{}, workerRow{},
		workerStats{}, workerHealth{}, changedWorker{}, installationStats{}, cronRow{}, cronTick{},
	} {
		if fields := strings.Join(output.FieldNames(row), ", "); !slices.Contains(lists, fields) {
			t.Errorf("docs/cli.md does not list the fields of %T: {%s}", row, fields)
		}
	}
	for _, name := range output.FieldNames(queueMetrics{}) {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/cli.md does not explain %s of queue metrics", name)
		}
	}
	for _, name := range output.FieldNames(queuepolicy.Row{}) {
		flag := strings.ReplaceAll(strings.TrimSuffix(name, "_seconds"), "_", "-")
		if flag = strings.TrimPrefix(flag, "backoff"); flag == "weights" {
			flag = "weight"
		}
		if !strings.Contains(string(text), flag) {
			t.Errorf("docs/cli.md does not list the flag %s", flag)
		}
	}
}
