#!/bin/sh
# Pawl beside River on one private server, fsync on, in alternation; prints the table of medians with ratios.
#   PEER_ROUNDS   rounds, default 3
#   PEER_JOBS     jobs of insert and work, default 200000
#   PEER_DURATION  length of flow, retry and latency, default 10s
#   PEER_OUT      where the table goes, default docs/bench/DATE-peers.md
# Needs Go and PostgreSQL's binaries (scripts/postgres.sh). Leaves nothing behind but the table.
set -eu
cd "$(dirname "$0")/.."
rounds=${PEER_ROUNDS:-3}
jobs=${PEER_JOBS:-200000}
duration=${PEER_DURATION:-10s}
out=${PEER_OUT:-docs/bench/$(date -u +%F)-peers.md}
dir=$(mktemp -d)
mkfifo "$dir/hold"
go build -o "$dir/pawl" ./cmd/pawl
(cd bench/peers/river && go build -o "$dir/river" .)
"$dir/pawl" bench server <"$dir/hold" >"$dir/url" &
server=$!
exec 9>"$dir/hold"
trap 'exec 9>&-; wait $server || true; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
until [ -s "$dir/url" ]; do
    kill -0 $server || exit 1
    sleep 0.1
done
url=$(cat "$dir/url")
pawl() { "$dir/pawl" bench --dsn "$url" --duration "$duration" --format json "$@" 9>&- >>"$dir/pawl.json"; }
river() { "$dir/river" --database-url "$url" --duration "$duration" --json "$@" 9>&- >>"$dir/river.json"; }
for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    for scenario in insert work flow retry; do
        pawl --jobs "$jobs" "$scenario"
        river --profile bench --jobs "$jobs" "$scenario"
    done
    pawl --jobs "$jobs" bare
    pawl --jobs 100000 insert-concurrent
    river --profile bench --jobs 20000 insert-concurrent
    pawl --defaults --jobs 100000 work
    river --profile default --jobs 5000 work
    pawl latency
    river --profile default latency
    river --profile bench latency
done
mkdir -p "$(dirname "$out")"
"$dir/pawl" bench compare "$dir/pawl.json" "$dir/river.json" | tee "$out"
