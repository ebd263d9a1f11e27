#!/bin/sh
# A cluster on this machine: kind's, with one node. Who has k3s has a cluster already.
set -eu
kind create cluster --name "${CLUSTER:-quickstart}" --wait 5m
