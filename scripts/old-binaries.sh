#!/bin/sh
# Builds a process of each kept version (testdata/upgrade/NNNN/commit) out of git's history, into the folder given.
set -eu
to=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
for dir in testdata/upgrade/[0-9]*; do
	tree=$(mktemp -d)
	trap 'rm -rf "$tree"' EXIT
	git archive "$(cat "$dir/commit")" | tar -x -C "$tree"
	mkdir "$tree/cmd/fleet"
	cp testdata/upgrade/fleet.go.txt "$tree/cmd/fleet/main.go"
	(cd "$tree" && go build -o "$to/$(basename "$dir")" ./cmd/fleet)
	rm -rf "$tree"
done
