#!/bin/sh
# Installs, on Debian as root, the proxies that stand in front of CouchDB in the tests, and openssl, which makes certificates.
set -eu
if command -v haproxy >/dev/null && command -v nginx >/dev/null && command -v openssl >/dev/null; then exit 0; fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends haproxy nginx-light openssl
