#!/bin/sh
# Makes sure that the program pgbouncer is here.
#
# Inputs:
#   PAWL_PGBOUNCER  if set, the program
#   PATH            else looked along, then where packages install
#
# Outputs:
#   Nothing and exit code 0 if the program is here.
#   Else, with apt-get and either root or sudo without a password: installs
#   Debian's package pgbouncer, without starting its service, and says so in
#   one line.
#   Else, or if that fails: says on standard error what to install; exit code 1.
#
# The places are those of internal/localpg's FindPgBouncer; keep the two alike.
set -u

here() {
	command -v pgbouncer >/dev/null 2>&1 && return 0
	for program in /usr/sbin/pgbouncer /usr/bin/pgbouncer \
		/opt/homebrew/bin/pgbouncer /usr/local/bin/pgbouncer; do
		[ -x "$program" ] && return 0
	done
	return 1
}

advise() {
	cat >&2 <<'END'
The program pgbouncer is not here. Install it:
  Debian, Ubuntu:  apt-get install pgbouncer
  Fedora, RHEL:    dnf install pgbouncer
  Alpine:          apk add pgbouncer
  macOS:           brew install pgbouncer
or set PAWL_PGBOUNCER to the program.
END
	exit 1
}

# Runs a command as root.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

install() {
	apt="env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120"
	policy=/usr/sbin/policy-rc.d # what Debian asks whether a new package's service may start
	# A fresh image has no package lists, an old one has stale ones.
	as_root $apt update || : # one unreachable source need not matter
	if [ ! -e "$policy" ]; then
		trap 'as_root rm -f "$policy"' EXIT # install runs in a subshell of its own
		trap 'exit 1' INT TERM
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null || return
		as_root chmod 755 "$policy" || return
	fi
	as_root $apt install --yes --no-install-recommends pgbouncer
}

if [ -n "${PAWL_PGBOUNCER:-}" ]; then
	[ -x "$PAWL_PGBOUNCER" ] && [ ! -d "$PAWL_PGBOUNCER" ] && exit 0
	echo "PAWL_PGBOUNCER is $PAWL_PGBOUNCER, which is not a program; correct or unset it." >&2
	exit 1
fi
here && exit 0

command -v apt-get >/dev/null 2>&1 || advise
[ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null || advise
echo "Installing Debian's package pgbouncer with apt-get, to test behind it."
if ! log=$(install 2>&1); then
	printf '%s\n' "$log" >&2
	advise
fi
here || advise
