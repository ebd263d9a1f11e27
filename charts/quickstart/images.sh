#!/bin/sh
# Builds both images for this machine and puts them on the cluster's node: images.sh [kind|k3s]
set -eu
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^appVersion: //p' charts/queue-agent/Chart.yaml)
agent=localhost/sd-queue-agent:$version
runtime=$agent-diffusers
docker build --target agent --tag "$agent" .
docker build --target diffusers --tag "$runtime" .
case ${1:-kind} in
kind) kind load docker-image --name "${CLUSTER:-quickstart}" "$agent" "$runtime" ;;
k3s) docker save "$agent" "$runtime" | sudo k3s ctr images import - ;;
*) echo "images.sh [kind|k3s]" >&2 && exit 2 ;;
esac
