#!/bin/sh
# Builds the program testdata/upgrade/fleet of each kept version, at the commit in testdata/upgrade/NNNN/commit, as DIR/NNNN.
# Usage: old-binaries.sh DIR
set -eu
to=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
for dir in testdata/upgrade/[0-9]*; do
	tree=$(mktemp -d)
	trap 'rm -rf "$tree"' EXIT
	git archive "$(cat "$dir/commit")" | tar -x -C "$tree"
	(cd "$tree" && go build -o "$to/$(basename "$dir")" ./testdata/upgrade/fleet)
	rm -rf "$tree"
done
