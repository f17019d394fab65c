#!/bin/sh
# Installs the library of the AWS CDK, by which lambda/examples/cdk is synthesized, into .cdk of the checkout.
set -eu
cd "$(dirname "$0")/../.."
npm install --prefix .cdk --silent --no-audit --no-fund aws-cdk-lib@2.276.0 constructs@10.8.1
