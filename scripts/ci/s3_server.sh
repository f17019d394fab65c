#!/bin/sh
# Installs an S3 server (versitygw, through the Go module proxy, kept in the user's cache) and runs it in the foreground:
#   scripts/ci/s3_server.sh PORT FOLDER [--versions]
# It listens on 127.0.0.1 and [::1], keeps its objects in FOLDER, and has the buckets "test-bucket" and
# "data.example.com". With --versions it keeps versions of objects, and its buckets may lock them. Its keys are
# AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "ci-access" and "ci-secret" where unset.
# `scripts/ci/s3_server.sh --install` only installs it. Needs Go.
set -eu

version=v1.8.0
cache="${XDG_CACHE_HOME:-$HOME/.cache}/couchdb-backup-ci"
server="$cache/versitygw-$version"

if [ ! -x "$server" ]; then
  command -v go >/dev/null || { echo "$0: Go is needed to install versitygw $version" >&2; exit 1; }
  mkdir -p "$cache"
  building=$(mktemp -d "$cache/build.XXXXXX")
  trap 'rm -rf "$building"' EXIT
  GOFLAGS=-mod=mod GOBIN="$building" go install "github.com/versity/versitygw/cmd/versitygw@$version" >&2
  mv "$building/versitygw" "$server"
  rm -rf "$building"
  trap - EXIT
fi
[ "${1-}" = --install ] && exit 0

if [ $# -ne 2 ] && { [ $# -ne 3 ] || [ "$3" != --versions ]; }; then
  echo "usage: $0 PORT FOLDER [--versions] | --install" >&2
  exit 2
fi
port=$1
folder=$2
mkdir -p "$folder/objects/test-bucket" "$folder/objects/data.example.com" "$folder/metadata"
if [ $# -eq 3 ]; then
  mkdir -p "$folder/versions"
  set -- --versioning-dir "$folder/versions"
else
  set --
fi

# A sidecar folder for metadata: not every file system of a build machine has extended attributes.
exec "$server" --quiet --port "127.0.0.1:$port" --port "[::1]:$port" \
  --access "${AWS_ACCESS_KEY_ID:-ci-access}" --secret "${AWS_SECRET_ACCESS_KEY:-ci-secret}" \
  posix --sidecar "$folder/metadata" "$@" "$folder/objects"
