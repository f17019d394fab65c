#!/bin/sh
# Installs who else reads template.yaml: checkov and the SAM CLI, each into an environment of its own in the checkout, for
# their requirements contradict each other.
set -eu
cd "$(dirname "$0")/../.."
for tool in checkov==3.3.30 aws-sam-cli==1.170.0; do
  case "$tool" in
    checkov*) folder=.venv-checkov ;;
    *) folder=.venv-sam ;;
  esac
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check "$tool"
done
