#!/bin/sh
# Installs an S3 server (versitygw, through the Go module proxy, kept in the user's cache) and runs it in the foreground:
#   scripts/ci/s3_server.sh PORT FOLDER [--versions]
# It listens on 127.0.0.1 and [::1], keeps its objects in FOLDER, and has the buckets "test-bucket" and
# "data.example.com". With --versions it keeps versions of objects, and its buckets may lock them. Its keys are
# AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "ci-access" and "ci-secret" where unset.
# `scripts/ci/s3_server.sh --install` only installs it. Needs Go.
set -eu

version=v1.8.0
server=$(sh "$(dirname "$0")/../go_program.sh" versitygw github.com/versity/versitygw/cmd/versitygw "$version")
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
