#!/bin/sh
# Removes everything: remove.sh [kind|k3s]; of kind the cluster itself.
set -eu
case ${1:-kind} in
kind) kind delete cluster --name "${CLUSTER:-quickstart}" ;;
k3s) helm uninstall quickstart --namespace quickstart && kubectl delete namespace quickstart ;;
*) echo "remove.sh [kind|k3s]" >&2 && exit 2 ;;
esac
