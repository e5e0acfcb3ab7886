package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestAnswersAreDocumented holds the names in answers against docs/cli.md: each is there as a list in braces, in its order.
func TestAnswersAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	var lists []string
	for _, found := range regexp.MustCompile("\\{([a-z_]+(?:,\\s+[a-z_]+)*)\\}").FindAllStringSubmatch(string(text), -1) {
		lists = append(lists, strings.Join(strings.Fields(found[1]), " "))
	}
	for _, answer := range []any{
		installed{}, uninstalled{}, finding{}, insertedJob{}, insertedJobs{}, validated{}, jobRow{}, errorRow{}, jobEvent{},
		queueRow{}, pausedQueue{}, channelRow{}, messageRow{}, archivedMessage{}, workerRow{}, workerStats{}, workerHealth{}, toldWorker{}, systemStats{},
	} {
		if of := reflect.TypeOf(answer); !slices.Contains(lists, strings.Join(names(columnsOf(of)), ", ")) {
			t.Errorf("%v is not in docs/cli.md: {%s}", of, strings.Join(names(columnsOf(of)), ", "))
		}
	}
	for _, name := range names(columnsOf(reflect.TypeFor[queueMetrics]())) {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/cli.md does not say what %s of queue metrics is", name)
		}
	}
	for _, name := range names(columnsOf(reflect.TypeFor[policyRow]())) {
		flag := strings.ReplaceAll(strings.TrimSuffix(name, "_seconds"), "_", "-")
		if flag = strings.TrimPrefix(flag, "backoff"); flag == "weights" {
			flag = "weight"
		}
		if !strings.Contains(string(text), flag) {
			t.Errorf("docs/cli.md does not have the flag %s", flag)
		}
	}
}
