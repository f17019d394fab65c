#!/bin/sh
# Installs nfpm, which makes deb and rpm, through the Go module proxy into the user's cache, and prints its path. Does
# nothing more when this version is there. Needs Go. Later versions want modules that the proxy does not have.
set -eu

version=v2.45.2
cache="${XDG_CACHE_HOME:-$HOME/.cache}/couchdb-backup-ci"
program="$cache/nfpm-$version"

if [ ! -x "$program" ]; then
  command -v go >/dev/null || { echo "$0: Go is needed to install nfpm $version" >&2; exit 1; }
  mkdir -p "$cache"
  building=$(mktemp -d "$cache/build.XXXXXX")
  trap 'rm -rf "$building"' EXIT
  GOFLAGS=-mod=mod GOBIN="$building" go install "github.com/goreleaser/nfpm/v2/cmd/nfpm@$version" >&2
  mv "$building/nfpm" "$program"
  rm -rf "$building"
  trap - EXIT
fi
echo "$program"
