#!/bin/sh
# Installs what the monitoring tests need from Debian: promtool (in the package prometheus) and the Pushgateway.
# Debian starts the services of what it installs; a policy-rc.d for the time of the installation keeps them asleep, since
# the tests start their own on free ports. Run as root; does nothing when both are there.
set -eu

if command -v promtool >/dev/null && command -v prometheus-pushgateway >/dev/null; then exit 0; fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends prometheus prometheus-pushgateway >/dev/null
promtool --version 2>&1 | head -n 1
prometheus-pushgateway --version 2>&1 | head -n 1
