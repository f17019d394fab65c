#!/bin/sh
# Installs, on Debian as root, what looks into built packages and runs an arm64 program on another machine: qemu's user
# emulation and arm64's libraries.
set -eu
apt-get update -qq
apt-get install -y -qq binutils unzip qemu-user-static libc6-arm64-cross libgcc-s1-arm64-cross libstdc++6-arm64-cross
