#!/bin/sh
# Installs the versions of Node that the npm package is for, from npm, kept in the user's cache:
#   scripts/ci/node.sh           all of them
#   scripts/ci/node.sh 22        this one, and prints the folder that its `node` lies in
# Does nothing when they are there. Needs npm.
set -eu

cache="${XDG_CACHE_HOME:-$HOME/.cache}/couchdb-backup-ci"
for version in ${1:-22 24}; do
  folder="$cache/node-$version"
  if ! "$folder/node_modules/node/bin/node" --version >/dev/null 2>&1; then
    mkdir -p "$folder"
    npm install --silent --no-audit --no-fund --prefix "$folder" "node@$version" >&2
  fi
done
if [ $# -eq 1 ]; then echo "$folder/node_modules/node/bin"; fi
