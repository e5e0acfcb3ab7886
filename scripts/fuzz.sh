#!/bin/sh
# Runs every fuzz target of every package, one after the other.
#
# Inputs:
#   FUZZ_TIME   how long each target runs; if empty, 60s
#   FUZZ_ONLY   a pattern of target names; if empty, all
#
# Outputs:
#   A line for each target: its package, its name, ok or FAILED, and its log if it failed. A finding is kept in testdata/fuzz of its
#   package, where `go test` runs it from then on. Exit code 1 if one failed.
set -u
cd "$(dirname "$0")/.." || exit
time=${FUZZ_TIME:-60s} only=${FUZZ_ONLY:-.}
log=$(mktemp) && trap 'rm -f "$log"' EXIT

# Prints a line for each target: its package and its name. go test lists the names of a package before its line.
targets() {
	go test -list '^Fuzz' ./... | awk '
		$1 ~ /^Fuzz/ { names[++n] = $1; next }
		$1 == "ok"   { for (i = 1; i <= n; i++) print $2, names[i] }
		             { n = 0 }'
}

list=$(targets) || exit
[ -n "$list" ] || {
	echo "There are no fuzz targets: the packages do not build." >&2
	exit 1
}
code=0
while read -r package name; do
	echo "$name" | grep -Eq "$only" || continue
	if go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$package" >"$log" 2>&1 </dev/null; then
		echo "$package $name ok, $(grep -o 'execs: [0-9]*' "$log" | tail -1)"
	else
		echo "$package $name FAILED"
		cat "$log"
		code=1
	fi
done <<EOT
$list
EOT
exit $code
