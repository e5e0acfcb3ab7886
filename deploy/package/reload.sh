#!/bin/sh
# After an install or a removal: systemd is to see the units. Services are not started, nor restarted in the middle of their jobs.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
fi
