#!/bin/sh
# Installs couchbackup, whose files the integration tier has restored, from npm into the user's cache, and prints the
# folder that its `couchbackup` and `couchrestore` lie in. Does nothing more when this version is there. Needs npm and
# Node 20 or later.
set -eu

version=2.11.12
folder="${XDG_CACHE_HOME:-$HOME/.cache}/couchdb-backup-ci/couchbackup-$version"
if ! "$folder/node_modules/.bin/couchbackup" --version >/dev/null 2>&1; then
  mkdir -p "$folder"
  npm install --silent --no-audit --no-fund --prefix "$folder" "@cloudant/couchbackup@$version" >&2
fi
echo "$folder/node_modules/.bin"
