#!/bin/sh
# Installs what reads the files of a release: actionlint, through the Go module proxy into the user's cache, and CycloneDX'
# schemas, from PyPI into .venv-sbom of the checkout. Prints actionlint's path. Does nothing more when they are there.
set -eu
cd "$(dirname "$0")/../.."

version=v1.7.12
cache="${XDG_CACHE_HOME:-$HOME/.cache}/couchdb-backup-ci"
program="$cache/actionlint-$version"
if [ ! -x "$program" ]; then
  mkdir -p "$cache"
  building=$(mktemp -d "$cache/build.XXXXXX")
  trap 'rm -rf "$building"' EXIT
  GOFLAGS=-mod=mod GOBIN="$building" go install "github.com/rhysd/actionlint/cmd/actionlint@$version" >&2
  mv "$building/actionlint" "$program"
  rm -rf "$building"
  trap - EXIT
fi

if [ ! -x .venv-sbom/bin/pip ] || ! .venv-sbom/bin/pip show --quiet cyclonedx-python-lib 2>/dev/null; then
  python3 -m venv .venv-sbom
  .venv-sbom/bin/pip install --quiet --disable-pip-version-check "cyclonedx-python-lib[json-validation]==11.12.0"
fi
echo "$program"
