#!/bin/sh
# Asks the gateway for one image and saves it: job.sh [FILE]. GATEWAY, ID and STEPS can be set.
set -eu
file=${1:-quickstart.png}
if [ -z "${GATEWAY:-}" ]; then
  GATEWAY=http://localhost:9300
  kubectl --namespace quickstart port-forward service/quickstart-gateway 9300:80 >/dev/null &
  forward=$!
  trap 'kill "$forward" || true' EXIT
fi
ask() { curl --silent --show-error --fail-with-body "$@"; }
ask --retry 30 --retry-delay 1 --retry-all-errors "$GATEWAY/readyz" >/dev/null

id=${ID:-quickstart-$(date +%s)-$$}
ask --header 'Content-Type: application/json' --data @- "$GATEWAY/v1/jobs" <<END
{"metadata": {"id": "$id"},
 "content": {"prompt": "large yellow star on purple", "seed": 7, "steps": ${STEPS:-16}, "width": 512, "height": 512}}
END
echo
for _ in 1 2 3 4 5 6 7 8 9 10; do
  job=$(ask --request POST "$GATEWAY/v1/jobs/$id/wait?timeout=60")
  case $job in
  *'"status":"completed"'*)
    ask --output "$file" "$GATEWAY/v1/jobs/$id/images/1"
    echo "$id is completed: $file"
    exit
    ;;
  *'"status":"failed"'* | *'"status":"cancelled"'* | *'"status":"expired"'*) break ;;
  esac
done
echo "$id is not completed: $job" >&2
exit 1
