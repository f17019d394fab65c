#!/bin/sh
# Installs, on Debian as root, what makes network namespaces, such as one without IPv4.
set -eu
apt-get update -qq
apt-get install -y -qq iproute2
