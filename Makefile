# What each target needs it installs itself where it may; see scripts/.

.PHONY: demo test test-pgbouncer test-hostile matrix property fuzz bench bench-peers schema freeze upgrade lint package

demo: ## Start a private PostgreSQL, run the real thing, show it.
	@sh scripts/postgres.sh
	@go run ./cmd/pawl demo

test: ## All tests, with the race detector.
	@sh scripts/postgres.sh
	go vet ./...
	go test -race -timeout 15m ./...
	cd examples/orm && go vet ./... && go test ./...

test-pgbouncer: ## The same through a PgBouncer in transaction mode.
	@sh scripts/postgres.sh
	@sh scripts/pgbouncer.sh
	PAWL_TEST_PGBOUNCER=1 go test -race -timeout 15m ./...

test-hostile: ## The same, without the race detector, in databases with settings that few expect.
	@sh scripts/postgres.sh
	PAWL_TEST_HOSTILE=1 go test -timeout 60m .

MATRIX_VERSIONS ?= 15 16 17 18

matrix: ## The same, without the race detector, on each version of PostgreSQL: a line for each.
	@sh scripts/matrix.sh $(MATRIX_VERSIONS)

PROPERTY_RUNS ?= 5000
PROPERTY_SEED ?= $(shell date +%s)

property: ## Random verbs against a model, thousands of runs. A failure prints its seed and the shrunk run.
	@sh scripts/postgres.sh
	PAWL_PROPERTY_RUNS=$(PROPERTY_RUNS) PAWL_PROPERTY_SEED=$(PROPERTY_SEED) go test -race -timeout 2h -run '^TestProperty' .

FUZZ_TIME ?= 60s

fuzz: ## Every fuzz target for FUZZ_TIME each. `make test` runs their seeds and what was found before.
	@sh scripts/postgres.sh
	@FUZZ_TIME=$(FUZZ_TIME) sh scripts/fuzz.sh

bench: ## Pawl's own benchmark on a private server, fsync on.
	@sh scripts/postgres.sh
	@go run ./cmd/pawl bench

bench-peers: ## Pawl beside River on one private server, with ratios.
	@sh scripts/postgres.sh
	@sh scripts/bench-peers.sh

lint: ## Formatting, vet, golangci-lint with staticcheck, and the workflows.
	test -z "$$(gofmt -l .)"
	go vet ./...
	cd examples/orm && go vet ./...
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.5.0 run --max-issues-per-linter 0 --max-same-issues 0 ./...
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

package: ## deb and rpm of the command, into bin/package.
	@sh scripts/package.sh

schema: ## Write sql/schema.sql anew.
	@sh scripts/postgres.sh
	go test -run TestSchemaDump . -update

freeze: ## Keep this version's schema and the statements of its binary as test data: see docs/upgrades.md.
	@sh scripts/postgres.sh
	@sent=$$(mktemp) && PAWL_TEST_RECORD=$$sent go test -count 1 . && go test -count 1 -run TestFreeze . -freeze $$sent; code=$$?; rm -f $$sent; exit $$code

upgrade: ## A rolling upgrade with processes of the kept versions, built from git's history.
	@sh scripts/postgres.sh
	@old=$$(mktemp -d) && sh scripts/old-binaries.sh $$old && PAWL_OLD_BINARIES=$$old go test -race -count 1 -run TestRollingUpgrade -v .; code=$$?; rm -rf $$old; exit $$code
