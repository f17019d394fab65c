#!/bin/sh
# Installs what the tests of metrics and alerts need from Debian: promtool (in the package prometheus) and the Pushgateway.
# Debian starts the services of what it installs; a policy-rc.d for the time of the installation keeps them asleep, since
# the tests start their own on free ports. Run as root; does nothing when both are there.
set -eu

if command -v promtool >/dev/null && command -v prometheus-pushgateway >/dev/null; then exit 0; fi

policy=/usr/sbin/policy-rc.d
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ ! -e "$policy" ]; then
  trap 'rm -f "$log" "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
if ! apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=300 \
  prometheus prometheus-pushgateway >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
promtool --version 2>&1 | head -n 1
