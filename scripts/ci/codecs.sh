#!/bin/sh
# Installs the commands zstd and age, with which tests read what the program writes, and write what it reads. Run as
# root; does nothing when they are there.
set -eu

if command -v zstd >/dev/null && command -v age >/dev/null; then exit 0; fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=300 zstd age >/dev/null
zstd --version
age --version
