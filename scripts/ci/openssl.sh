#!/bin/sh
# Installs openssl, with which a test makes certificates. Run as root; does nothing when it is there.
set -eu

if command -v openssl >/dev/null; then exit 0; fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=300 openssl >/dev/null
openssl version
