#!/bin/sh
# Installs nfpm, which makes deb and rpm, through the Go module proxy into the user's cache, and prints its path. Does
# nothing more when this version is there. Needs Go. Later versions want modules that the proxy does not have.
set -eu

version=v2.45.2
sh "$(dirname "$0")/../go_program.sh" nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm "$version"
