#!/bin/sh
# Installs the command zstd, with which tests read what the program writes, and write what it reads. Run as root; does
# nothing when it is there.
set -eu

if command -v zstd >/dev/null; then exit 0; fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=300 zstd >/dev/null
zstd --version
