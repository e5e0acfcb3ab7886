# Runs one PostgreSQL server for the process that holds the other end of
# standard input, and puts everything away when that process closes it or
# dies, however it dies.
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

# Only the pipe decides when to end; a signal must not come between.
trap '' HUP INT TERM PIPE

bin=$1 data=$2 config=$3 log=$4 last=$5
shift 5
exec 2>>"$log"
pid=

# The sleep paces the caller and lets the shell notice a child that has ended.
alive() {
	[ -n "$pid" ] || return 1
	sleep 0.02
	kill -0 "$pid" 2>/dev/null
}

# A server that has only just been started ignores its first signals, because
# a shell's background commands ignore some: hence the repetition.
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
