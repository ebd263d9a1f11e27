#!/bin/sh
# The quick start from nothing in a cluster of its own: a job, a job whose pod is killed while it
# runs, and all is removed, whatever came of it.
set -eu
for program in docker kind kubectl helm curl; do
  command -v "$program" >/dev/null || { echo "kind-test needs $program" >&2 && exit 1; }
done
docker info >/dev/null 2>&1 || { echo "kind-test needs a Docker that runs" >&2 && exit 1; }
cd "$(dirname "$0")"
CLUSTER=queue-agent-test
work=$(mktemp -d)
KUBECONFIG=$work/kubeconfig # so that no other cluster is meant, and kubectl's own stays as it is
export CLUSTER KUBECONFIG
trap './remove.sh; rm -r "$work"' EXIT
trap 'exit 1' HUP INT TERM

./cluster.sh
./images.sh
./install.sh
helm test quickstart --namespace quickstart
kubectl --namespace quickstart port-forward service/quickstart-gateway 8765:80 >/dev/null &
forward=$!
trap 'kill "$forward" || true; ./remove.sh; rm -r "$work"' EXIT
export GATEWAY=http://localhost:8765
./job.sh "$work/first.png"

ID=interrupted STEPS=800 ./job.sh "$work/second.png" &
job=$!
until curl --silent "$GATEWAY/v1/jobs/interrupted" | grep -q '"status":"running"'; do
  kill -0 "$job" # or it ended without being seen at work
  sleep 0.2
done
kubectl --namespace quickstart delete pod --selector app.kubernetes.io/component=runtime \
  --grace-period 0 --force
wait "$job"
test -s "$work/first.png" && test -s "$work/second.png"
echo "kind-test: both jobs are completed, one of them after its pod was killed"
