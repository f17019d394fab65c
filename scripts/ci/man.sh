#!/bin/sh
# Installs what reads the man page and finds fault with it. Run as root; does nothing when they are there.
set -eu

if command -v mandoc >/dev/null && command -v groff >/dev/null && [ -e /usr/share/groff/current/tmac/an.tmac ]; then exit 0; fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=300 mandoc groff >/dev/null
