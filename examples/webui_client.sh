#!/usr/bin/env bash
# What a client of the Web UI sends, sent to the gateway instead: only the base URL differs.
# Usage: [GATEWAY=http://127.0.0.1:9300] [KEY=…] webui_client.sh [PROMPT] [FOLDER]
set -euo pipefail

gateway=${GATEWAY:-http://127.0.0.1:9300}
prompt=${1:-a lighthouse at dusk}
folder=${2:-out}
auth=(${KEY:+--user "api:$KEY"})

mkdir -p "$folder"
python3 -c 'import json, sys; print(json.dumps({"prompt": sys.argv[1], "steps": 20}))' "$prompt" |
  curl --silent --show-error --fail-with-body "${auth[@]}" --json @- "$gateway/sdapi/v1/txt2img" |
  python3 -c 'import base64, json, sys; sys.stdout.buffer.write(base64.b64decode(json.load(sys.stdin)["images"][0]))' \
  > "$folder/webui.png"
echo "saved $folder/webui.png"
