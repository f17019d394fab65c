#!/bin/sh
# Installs what reads and runs the container files: podman with runc (on Debian as root), the loader of Compose files that
# `docker compose` has, through the Go module proxy into the user's cache, and Kubernetes' schemas, from PyPI into
# .venv-kubernetes of the checkout. Prints the loader's path. Does nothing more when they are there.
set -eu
cd "$(dirname "$0")/../.."

if ! command -v podman >/dev/null || ! command -v runc >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=300 podman runc >/dev/null
fi

version=v2.16.2
program=$(sh scripts/go_program.sh compose github.com/compose-spec/compose-go/v2/cmd "$version")

if [ ! -x .venv-kubernetes/bin/kubernetes-validate ]; then
  python3 -m venv .venv-kubernetes
  .venv-kubernetes/bin/pip install --quiet --disable-pip-version-check kubernetes-validate==1.37.0 setuptools
fi
echo "$program"
