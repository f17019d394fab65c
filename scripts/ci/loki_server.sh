#!/bin/sh
# Builds Grafana Loki from Go's modules for tests/integration/loki_test.ts, which starts it. The file is $LOKI_BINARY, by
# default ~/.cache/couchdb-backup/loki. Needs Go; takes five to eight minutes on two cores; does nothing when the file is
# there in this version.
set -eu

version=v3.7.8
binary=${LOKI_BINARY:-$HOME/.cache/couchdb-backup/loki}
if [ -x "$binary" ] && go version -m "$binary" 2>/dev/null | grep -q "github.com/grafana/loki/v3[[:space:]]$version"; then
  exit 0
fi
command -v go >/dev/null || { echo "Cannot build Loki: there is no go on the PATH" >&2; exit 1; }

# Loki replaces some of its dependencies, which `go install` does not allow, and one of them by a folder that its module
# does not contain. So it is built from a module of our own with its requirements and all replacements but that.
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
cd "$build"
source=$(go mod download -json "github.com/grafana/loki/v3@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
cp "$source/go.mod" "$source/go.sum" .
chmod u+w go.mod go.sum
go mod edit -module loki-server -dropreplace github.com/grafana/loki/pkg/push -require "github.com/grafana/loki/v3@$version"
mkdir -p "$(dirname "$binary")"
GOFLAGS=-mod=mod go build -buildvcs=false -o loki github.com/grafana/loki/v3/cmd/loki 2>build.log || {
  cat build.log >&2
  exit 1
}
mv loki "$binary"
echo "Loki $version in $binary"
