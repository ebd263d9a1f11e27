"""Ask for an image and fetch it with the AWS SDK alone: nothing of ours is installed."""

import json
import os
import sys
import time
import uuid
from pathlib import Path

import boto3


def main(prompt: str, folder: str) -> None:
    runtime = os.environ["QUEUE_AGENT_RUNTIME_NAME"]
    bucket = os.environ["QUEUE_AGENT_BUCKET"]
    topic = os.environ["QUEUE_AGENT_JOB_TOPIC_ARN"]
    session = boto3.Session(region_name=topic.split(":")[3])
    job_id = f"boto3-{uuid.uuid4().hex}"
    metadata = {"id": job_id, "runtime": runtime, "tasktype": "text-to-image", "prefix": "output"}
    job = {"metadata": metadata, "content": {"prompt": prompt, "steps": 20}}
    session.client("sns").publish(
        TopicArn=topic,
        Message=json.dumps(job),
        # By this the topic chooses the queue; without it no queue gets the job.
        MessageAttributes={"runtime": {"DataType": "String", "StringValue": runtime}},
    )
    print("submitted", job_id)

    s3, manifest = session.client("s3"), None
    while manifest is None:  # the manifest is written last
        listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"output/{job_id}/").get("Contents", [])
        manifest = next((each["Key"] for each in listed if each["Key"].endswith(".out")), None)
        time.sleep(0 if manifest else 2)
    result = json.load(s3.get_object(Bucket=bucket, Key=manifest)["Body"])
    if not result["result"]:
        sys.exit(f"{result['status']}: {result['error']['message']}")
    Path(folder).mkdir(parents=True, exist_ok=True)
    for url in result["image_url"]:
        key = url.removeprefix(f"s3://{bucket}/")
        path = Path(folder) / key.rpartition("/")[2]
        s3.download_file(bucket, key, str(path))
        print("saved", path)


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv))
    main(arguments.get(1, "a lighthouse at dusk"), arguments.get(2, "out"))
