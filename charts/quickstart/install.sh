#!/bin/sh
# Installs chart and NATS server in kubectl's current cluster, and waits until all of it is ready.
set -eu
cd "$(dirname "$0")/.."
helm upgrade --install quickstart queue-agent --namespace quickstart --create-namespace \
  --values quickstart/values.yaml --wait --timeout 15m
