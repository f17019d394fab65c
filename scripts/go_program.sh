#!/bin/sh
# Builds a program through the Go module proxy, keeps it in the user's cache, and prints its path:
#   scripts/go_program.sh NAME PACKAGE VERSION
# NAME is what it is called there. Does nothing more when this version is there. Needs Go.
set -eu

name=$1
package=$2
version=$3
cache="${XDG_CACHE_HOME:-$HOME/.cache}/couchdb-backup-ci"
program="$cache/$name-$version"

if [ ! -x "$program" ]; then
  command -v go >/dev/null || { echo "$0: Go is needed to install $name $version" >&2; exit 1; }
  mkdir -p "$cache"
  building=$(mktemp -d "$cache/build.XXXXXX")
  trap 'rm -rf "$building"' EXIT
  GOFLAGS=-mod=mod GOBIN="$building" go install "$package@$version" >&2
  mv "$building/${package##*/}" "$program"
fi
echo "$program"
