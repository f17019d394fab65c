#!/bin/sh
# Installs what the tests of the cloud parts run: cfn-lint, the AWS CLI and moto, into .venv of the checkout.
set -eu
cd "$(dirname "$0")/../.."
python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check --requirement scripts/ci/cloud_tools.txt
