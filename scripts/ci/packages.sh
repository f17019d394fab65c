#!/bin/sh
# Installs, on Debian as root, what packages are looked at with: lintian, rpm, shellcheck. Does nothing when they are there.
set -eu

if command -v lintian >/dev/null && command -v rpm >/dev/null && command -v shellcheck >/dev/null; then exit 0; fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=300 lintian rpm shellcheck >/dev/null
