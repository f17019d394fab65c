#!/bin/sh
# Says which glibc an executable needs, and fails when that is newer than the given one. CentOS 8 has 2.28, Lambda's
# Amazon Linux 2023 2.34, Fedora 38 2.37. The version is that of the newest symbol the executable takes from glibc.
#   scripts/glibc_check.sh dist/couchdb-backup 2.28
set -eu
file=$1
most=${2:-2.28}
needed=$(objdump -T "$file" | grep -o 'GLIBC_[0-9][0-9.]*' | sort -uV | tail -n 1 | cut -d _ -f 2)
if [ -z "$needed" ]; then
  echo "Cannot tell which glibc \"$file\" needs: objdump shows no versioned symbols in it" >&2
  exit 1
fi
newest=$(printf '%s\n' "$needed" "$most" | sort -V | tail -n 1)
if [ "$newest" != "$most" ]; then
  echo "\"$file\" needs glibc $needed, and $most is what there is" >&2
  exit 1
fi
echo "$file needs glibc $needed, $most or newer is there"
