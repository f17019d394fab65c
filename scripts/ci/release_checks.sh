#!/bin/sh
# Installs what reads the files of a release: actionlint, through the Go module proxy into the user's cache, and CycloneDX'
# schemas, from PyPI into .venv-sbom of the checkout. Prints actionlint's path. Does nothing more when they are there.
set -eu
cd "$(dirname "$0")/../.."

version=v1.7.12
program=$(sh scripts/go_program.sh actionlint github.com/rhysd/actionlint/cmd/actionlint "$version")

if [ ! -x .venv-sbom/bin/pip ] || ! .venv-sbom/bin/pip show --quiet cyclonedx-python-lib 2>/dev/null; then
  python3 -m venv .venv-sbom
  .venv-sbom/bin/pip install --quiet --disable-pip-version-check "cyclonedx-python-lib[json-validation]==11.12.0"
fi
echo "$program"
