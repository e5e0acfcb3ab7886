#!/bin/sh
# Builds the deb and rpm packages into bin/package, one of each for each machine.
#
# Inputs:
#   VERSION     such as v1.2.3; if empty, made of the last tag and the commit
#   GOARCHES    machines to build for; if empty, amd64 and arm64
#   NFPM        the program nfpm; if empty, it is installed into bin/tools
#
# The same commit, version, Go and nfpm give the same packages: times are the commit's.
set -eu

VERSION=${VERSION:-$(git describe --tags --match 'v[0-9]*' 2>/dev/null || echo "v0.0.0-$(git rev-list --count HEAD)-g$(git rev-parse --short=12 HEAD)")}
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
STAGE=bin/stage # As in nfpm.yaml.
export VERSION SOURCE_DATE_EPOCH

if [ -z "${NFPM:-}" ]; then
	NFPM=bin/tools/nfpm
	[ -x "$NFPM" ] || GOBIN="$PWD/bin/tools" go install github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.1
fi

rm -rf "$STAGE" bin/package
mkdir -p "$STAGE/completion" bin/package

# Pages and completions are the same for every machine: those of this one write them.
sh scripts/build.sh "$STAGE/pawl"
"$STAGE/pawl" man "$STAGE/man"
gzip -9 --no-name "$STAGE"/man/*.1
"$STAGE/pawl" completion bash >"$STAGE/completion/pawl.bash"
"$STAGE/pawl" completion zsh >"$STAGE/completion/_pawl"
"$STAGE/pawl" completion fish >"$STAGE/completion/pawl.fish"

for ARCH in ${GOARCHES:-amd64 arm64}; do
	export ARCH
	GOOS=linux GOARCH=$ARCH sh scripts/build.sh "$STAGE/pawl"
	for packager in deb rpm; do
		"$NFPM" package --config deploy/package/nfpm.yaml --packager "$packager" --target bin/package/
	done
done
