#!/bin/sh
# Builds the release binary: static, without paths of this machine, and saying its version.
#
#   scripts/build.sh FILE
#
# Inputs:
#   VERSION        such as v1.2.3; if empty, what the binary knows of its commit
#   GOOS, GOARCH   for another machine than this
#
# The same source, version and Go give the same bytes.
set -eu

CGO_ENABLED=0 exec go build -trimpath -ldflags "-s -w -X main.release=${VERSION:-}" -o "${1:?say where to}" ./cmd/pawl
