#!/usr/bin/env bash
# Publish a job and wait for its notification with nothing but the AWS CLI: a queue of our own
# is subscribed to the notifications of this one job, and removed again.
# Usage: aws_cli.sh [PROMPT] [FOLDER]
set -euo pipefail

: "${QUEUE_AGENT_JOB_TOPIC_ARN:?}" "${QUEUE_AGENT_TOPIC_ARN:?}" "${QUEUE_AGENT_RUNTIME_NAME:?}"
prompt=${1:-a lighthouse at dusk}
folder=${2:-out}
id=cli-$(date +%s)-$RANDOM
export AWS_PAGER=
export AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-$(cut -d: -f4 <<<"$QUEUE_AGENT_TOPIC_ARN")}

# Version 1 of the CLI does not read AWS_ENDPOINT_URL.
aws() { command aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; }

queue=$(aws sqs create-queue --queue-name "listen-$id" --query QueueUrl --output text)
subscription=
cleanup() {
  [ -z "$subscription" ] || aws sns unsubscribe --subscription-arn "$subscription"
  aws sqs delete-queue --queue-url "$queue"
}
trap cleanup EXIT

arn=$(aws sqs get-queue-attributes --queue-url "$queue" --attribute-names QueueArn \
  --query Attributes.QueueArn --output text)
attributes=$(python3 - "$arn" "$QUEUE_AGENT_TOPIC_ARN" <<'PYTHON'
import json, sys
queue, topic = sys.argv[1:]
statement = {
    "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
    "Action": "sqs:SendMessage", "Resource": queue,
    "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
}
policy = {"Version": "2012-10-17", "Statement": [statement]}
print(json.dumps({"Policy": json.dumps(policy)}))
PYTHON
)
aws sqs set-queue-attributes --queue-url "$queue" --attributes "$attributes"
subscription=$(aws sns subscribe --topic-arn "$QUEUE_AGENT_TOPIC_ARN" --protocol sqs \
  --notification-endpoint "$arn" --return-subscription-arn --query SubscriptionArn --output text \
  --attributes "{\"RawMessageDelivery\": \"true\", \"FilterPolicy\": \"{\\\"id\\\": [\\\"$id\\\"]}\"}")

job=$(python3 - "$id" "$QUEUE_AGENT_RUNTIME_NAME" "$prompt" <<'PYTHON'
import json, sys
job_id, runtime, prompt = sys.argv[1:]
metadata = {"id": job_id, "runtime": runtime, "tasktype": "text-to-image"}
print(json.dumps({"metadata": metadata, "content": {"prompt": prompt, "steps": 20}}))
PYTHON
)
aws sns publish --topic-arn "$QUEUE_AGENT_JOB_TOPIC_ARN" --message "$job" --output text \
  --message-attributes "{\"runtime\": {\"DataType\": \"String\", \"StringValue\": \"$QUEUE_AGENT_RUNTIME_NAME\"}}"

image=
while [ -z "$image" ]; do
  body=$(aws sqs receive-message --queue-url "$queue" --wait-time-seconds 20 \
    --query 'Messages[0].[ReceiptHandle,Body]' --output json)
  read -r receipt status image < <(python3 - "$body" <<'PYTHON'
import json, sys
receipt, body = json.loads(sys.argv[1]) or (None, "{}")
notification = json.loads(body or "{}")
print(receipt, notification.get("status", "nothing"), *notification.get("image_url", [])[:1])
PYTHON
  )
  echo "$status"
  [ "$receipt" = None ] || aws sqs delete-message --queue-url "$queue" --receipt-handle "$receipt"
  case $status in failed | cancelled | expired) exit 1 ;; esac
done

mkdir -p "$folder"
aws s3 cp --only-show-errors "$image" "$folder/$id.png"
echo "saved $folder/$id.png"
