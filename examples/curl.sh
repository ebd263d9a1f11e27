#!/usr/bin/env bash
# Ask the gateway for an image, follow the job, download the image: nothing but curl.
# Usage: [GATEWAY=http://127.0.0.1:9300] [KEY=…] curl.sh [PROMPT] [FOLDER]
set -euo pipefail

gateway=${GATEWAY:-http://127.0.0.1:9300}
prompt=${1:-a lighthouse at dusk}
folder=${2:-out}
auth=(${KEY:+--header "Authorization: Bearer $KEY"})

ask() { curl --silent --show-error --fail-with-body "${auth[@]}" "$@"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
body() { python3 -c 'import json, sys; print(json.dumps({"content": {"prompt": sys.argv[1], "steps": 20}}))' "$1"; }

id=$(ask --json "$(body "$prompt")" "$gateway/v1/jobs" | field id)
echo "submitted $id"

# Server-sent events until the job has ended.
ask --no-buffer "$gateway/v1/jobs/$id/events" | grep --line-buffered '^event:'

mkdir -p "$folder"
ask --output "$folder/$id.png" "$gateway/v1/jobs/$id/images/1"
echo "saved $folder/$id.png"
