package pawl_test

import (
	"fmt"
	"go/ast"
	"go/types"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// readingOrder lists the files of the root package so that a reader who goes down the list meets a caller before what
// it calls.
var readingOrder = strings.Fields(`
	doc.go consumer_wait.go consumer.go update.go runner.go runner_take.go runner_claim.go maintenance.go
	runner_heartbeat.go runner_stuck.go goroutine_stack.go runner_chunk.go checkpoint.go cron_tick.go cron.go
	consumer_extend.go consumer_finish.go runner_slots.go queue.go claim_readable.go runner_leases.go
	runner_state.go refused_result.go runner_finish.go reserve.go saga.go batch.go tail.go list.go await.go
	read_jobs.go get.go worker.go stats.go inspect.go migrate.go retry.go cancel.go followup.go cron_job.go
	insert_constraints.go selector.go counters.go claim.go insert.go insert_copy.go semaphore.go filter.go
	runner_execute.go runner_report.go constraints.go check_spec.go check_args.go codec.go wake.go
	insert_batcher.go finish.go attempt_result.go handler.go handler_call.go jsonb_size.go outcome.go
	args_json.go json_syntax.go archive.go runner_config.go insert_rate.go job_spec.go insert_split.go
	runner_pace.go consumer_undo.go insert_row.go backoff.go client.go outages.go guard.go errors.go job.go
	rate.go ticket.go db.go
`)

const (
	maxExportedNames  = 60
	maxBackReferences = 40
)

// loadRoot returns the root package, type-checked, without its tests.
func loadRoot(t *testing.T) *packages.Package {
	t.Helper()
	mode := packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo |
		packages.NeedImports | packages.NeedDeps
	loaded, err := packages.Load(&packages.Config{Mode: mode, Context: t.Context()}, ".")
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded) != 1 || len(loaded[0].Errors) > 0 {
		t.Fatalf("loaded %d packages, with errors %v", len(loaded), loaded[0].Errors)
	}
	return loaded[0]
}

// TestLayout counts the references between files of the root package that run against the reading order: a file that
// uses a name from a file above it. Each name counts once for each file that uses it.
func TestLayout(t *testing.T) {
	t.Parallel()
	root := loadRoot(t)
	place := map[string]int{}
	for i, name := range readingOrder {
		place[name] = i
	}
	for _, path := range root.GoFiles {
		if name := filepath.Base(path); !slices.Contains(readingOrder, name) {
			t.Errorf("%s has no place in readingOrder: put it above the files whose names it uses", name)
		}
	}
	if len(readingOrder) != len(root.GoFiles) {
		t.Errorf("readingOrder lists %d files; the package has %d", len(readingOrder), len(root.GoFiles))
	}
	back := map[string]bool{}
	for id, object := range root.TypesInfo.Uses {
		if object.Pkg() != root.Types || isLocal(root.Types, object) {
			continue
		}
		user := filepath.Base(root.Fset.Position(id.Pos()).Filename)
		definer := filepath.Base(root.Fset.Position(object.Pos()).Filename)
		if place[user] > place[definer] {
			back[fmt.Sprintf("%s uses %s of %s", user, object.Name(), definer)] = true
		}
	}
	if len(back) > maxBackReferences {
		t.Errorf("%d references run back up; at most %d:\n%s", len(back), maxBackReferences,
			strings.Join(slices.Sorted(maps.Keys(back)), "\n"))
	}
}

// isLocal reports whether an object is a variable or parameter of a function.
func isLocal(pkg *types.Package, object types.Object) bool {
	v, ok := object.(*types.Var)
	return ok && !v.IsField() && v.Parent() != pkg.Scope()
}

// TestExportedNames counts the exported names of the root package. A new one replaces one or comes with a decision.
func TestExportedNames(t *testing.T) {
	t.Parallel()
	var names []string
	for _, name := range loadRoot(t).Types.Scope().Names() {
		if ast.IsExported(name) {
			names = append(names, name)
		}
	}
	if len(names) > maxExportedNames {
		t.Errorf("%d exported names; at most %d (docs/decisions/0008): %s", len(names), maxExportedNames,
			strings.Join(names, " "))
	}
}

// TestLeaves checks that the leaves import nothing of the root package and that the core imports pgx and the standard
// library only.
func TestLeaves(t *testing.T) {
	t.Parallel()
	const module = "github.com/pawlhq/pawl"
	loaded, err := packages.Load(&packages.Config{Mode: packages.NeedName | packages.NeedImports, Context: t.Context()},
		".", "./sql", "./internal/...", "./pawlstate", "./pawlstats")
	if err != nil {
		t.Fatal(err)
	}
	testServers := []string{module + "/internal/pgtest", module + "/internal/localpg"} // They serve tests and the command.
	for _, p := range loaded {
		for path := range p.Imports {
			standard := !strings.Contains(strings.Split(path, "/")[0], ".")
			own := path == module || strings.HasPrefix(path, module+"/")
			switch {
			case path == module:
				t.Errorf("%s imports the root package", p.PkgPath)
			case !standard && !own && !strings.HasPrefix(path, "github.com/jackc/pgx/v5") &&
				!slices.Contains(testServers, p.PkgPath):
				t.Errorf("%s imports %s; the core imports pgx and the standard library", p.PkgPath, path)
			}
		}
	}
}
