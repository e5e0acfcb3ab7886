# This script runs one PostgreSQL server for the process at the other end of
# standard input. When that process closes the pipe or dies, the script stops the
# server and removes the folders.
#
# Arguments: BIN DATA CONFIG LOG LAST [FOLDER...]
#   BIN      folder with initdb and postgres
#   DATA     data folder
#   CONFIG   server configuration file
#   LOG      file that everything is logged to
#   LAST     signal that ends the server when standard input closes
#   FOLDER   folders removed after that
# Input, a line each: NUMBER init [OPTION] | start | status | stop SIGNAL
# Output, a line each: NUMBER ok [PID] | NUMBER no

# Only the end of standard input ends this script, so it ignores signals.
trap '' HUP INT TERM PIPE

bin=$1 data=$2 config=$3 log=$4 last=$5
shift 5
exec 2>>"$log"
pid=

# The sleep limits how often the caller asks. It also gives the shell the time to
# notice that a child has ended.
alive() {
	[ -n "$pid" ] || return 1
	sleep 0.02
	kill -0 "$pid" 2>/dev/null
}

# The signal is repeated, because a server ignores it just after its start: a
# shell's background commands ignore some signals.
end() {
	[ -n "$pid" ] || return 0
	while kill -"$1" "$pid"; do sleep 0.2; done </dev/null >/dev/null 2>&1 &
	repeat=$!
	wait "$pid"
	kill -KILL "$repeat" 2>/dev/null
	pid=
}

while read -r number verb argument; do
	case $verb in
	init)
		if "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C \
			$argument </dev/null >>"$log"; then
			echo "$number ok"
		else
			echo "$number no"
		fi
		;;
	start)
		if ! alive; then
			"$bin/postgres" -D "$data" -c config_file="$config" </dev/null >>"$log" &
			pid=$!
		fi
		echo "$number ok $pid"
		;;
	status)
		if alive; then echo "$number ok $pid"; else echo "$number no"; fi
		;;
	stop)
		end "$argument"
		echo "$number ok"
		;;
	esac
done

end "$last"
[ $# -eq 0 ] || rm -rf -- "$@"
