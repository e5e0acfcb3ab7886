#!/bin/sh
# Makes sure that PostgreSQL's server programs, initdb and postgres, are here.
#
# Inputs:
#   PAWL_TEST_DATABASE_URL  if set, that server is used and none is needed here
#   PAWL_PG_BIN             if set, the folder with initdb and postgres
#   PATH                    else looked along, then where packages install
#
# Outputs:
#   Nothing and exit code 0 if the programs are here or not needed.
#   Else, with apt-get and either root or sudo without a password: installs
#   Debian's package postgresql, without a server that starts by itself, and
#   says so in one line.
#   Else, or if that fails: says on standard error what to install; exit code 1.
#
# The places are those of internal/localpg's Find; keep the two alike.
set -u

have() { [ -x "$1/initdb" ] && [ -x "$1/postgres" ]; }

# The folder that command $1 really lies in.
folder_of() {
	found=$(command -v "$1" 2>/dev/null) || return 1
	real=$(readlink -f "$found" 2>/dev/null) || real=$found
	dirname "$real"
}

here() {
	folder=$(folder_of initdb) && have "$folder" && return 0
	folder=$(pg_config --bindir 2>/dev/null) && have "$folder" && return 0
	for folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
		/opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin \
		/usr/local/pgsql/bin; do
		have "$folder" && return 0
	done
	return 1
}

advise() {
	cat >&2 <<'END'
PostgreSQL's server programs (initdb and postgres) are not here. Install them:
  Debian, Ubuntu:  apt-get install postgresql
  Fedora, RHEL:    dnf install postgresql-server
  Alpine:          apk add postgresql
  macOS:           brew install postgresql
or set PAWL_PG_BIN to the folder that has them. To run the tests on a server of
your own instead, set PAWL_TEST_DATABASE_URL to its URL.
END
	exit 1
}

# Runs a command as root.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

install() {
	apt="env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120"
	conf=/etc/postgresql-common/createcluster.conf
	# A fresh image has no package lists, an old one has stale ones.
	as_root $apt update || : # one unreachable source need not matter
	if [ ! -e "$conf" ]; then
		as_root mkdir -p "${conf%/*}" || return
		echo 'create_main_cluster = false' | as_root tee "$conf" >/dev/null || return
	fi
	# --force-confold: keep that file though the package brings its own.
	as_root $apt install --yes --no-install-recommends \
		-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold postgresql
}

[ -z "${PAWL_TEST_DATABASE_URL:-}" ] || exit 0
if [ -n "${PAWL_PG_BIN:-}" ]; then
	have "$PAWL_PG_BIN" && exit 0
	echo "PAWL_PG_BIN is $PAWL_PG_BIN, which lacks initdb or postgres; correct or unset it." >&2
	exit 1
fi
here && exit 0

command -v apt-get >/dev/null 2>&1 || advise
[ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null || advise
echo "Installing Debian's package postgresql with apt-get, for a private server to run on."
if ! log=$(install 2>&1); then
	printf '%s\n' "$log" >&2
	advise
fi
here || advise
