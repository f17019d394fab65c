#!/bin/sh
# Installs tmux, in which the tests of progress bars have a terminal. Run as root; does nothing when it is there.
set -eu

if command -v tmux >/dev/null; then exit 0; fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=300 tmux >/dev/null
tmux -V
