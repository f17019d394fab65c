#!/bin/sh
# Installs MinIO (through the Go module proxy, kept in the user's cache) and runs it in the foreground:
#   scripts/ci/minio_server.sh PORT FOLDER [DOMAIN]
# It listens on 127.0.0.1, keeps its objects in FOLDER and has the bucket "test-bucket", which with DOMAIN may also stand
# before that host's name. Its keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "ci-access" and "ci-secret" where unset.
# `scripts/ci/minio_server.sh --install` only installs it: three to five minutes on two cores. Needs Go.
set -eu

# Its releases are no versions in Go's sense; this is the last state of its public repository.
version=v0.0.0-20260212201848-7aac2a2c5b7c
server=$(sh "$(dirname "$0")/../go_program.sh" minio github.com/minio/minio "$version")
[ "${1-}" = --install ] && exit 0

if [ $# -lt 2 ] || [ $# -gt 3 ]; then
  echo "usage: $0 PORT FOLDER [DOMAIN] | --install" >&2
  exit 2
fi
mkdir -p "$2/test-bucket"
if [ $# -eq 3 ]; then export MINIO_DOMAIN="$3"; fi
export MINIO_ROOT_USER="${AWS_ACCESS_KEY_ID:-ci-access}" MINIO_ROOT_PASSWORD="${AWS_SECRET_ACCESS_KEY:-ci-secret}"
# It asks nobody for newer releases.
export MINIO_UPDATE=off MINIO_BROWSER=off
exec "$server" server --quiet --address "127.0.0.1:$1" "$2"
