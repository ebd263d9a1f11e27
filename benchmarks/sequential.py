"""The baseline: receive, download, run, store, notify, delete, one step after the other.

    python -m benchmarks.sequential

It reads the agent's own settings and handles no fault at all: what an afternoon's worker
script does, with the same libraries.
"""

import asyncio
import base64
import json
import os
from typing import Any

import httpx
from aiobotocore.session import get_session

_ROUTES = {"text-to-image": "/sdapi/v1/txt2img", "image-to-image": "/sdapi/v1/img2img"}


async def work_off() -> None:
    """Work on one message after the other until the process is ended."""
    session = get_session()
    async with (
        httpx.AsyncClient(timeout=None, trust_env=False) as http,  # noqa: S113  the GPU takes its time
        session.create_client("sqs") as sqs,
        session.create_client("sns") as sns,
        session.create_client("s3") as s3,
    ):
        queue = os.environ["QUEUE_AGENT_QUEUE_URL"]
        while True:
            answer = await sqs.receive_message(
                QueueUrl=queue, MaxNumberOfMessages=1, WaitTimeSeconds=20
            )
            for message in answer.get("Messages", ()):
                await _complete(json.loads(message["Body"]), http, sns, s3)
                await sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


async def _complete(job: dict[str, Any], http: httpx.AsyncClient, sns: Any, s3: Any) -> None:
    metadata, request = job["metadata"], dict(job["content"])
    if "init_images" in request:
        request["init_images"] = [
            base64.b64encode((await http.get(url)).content).decode()
            for url in request["init_images"]
        ]
    route = os.environ["QUEUE_AGENT_RUNTIME_URL"] + _ROUTES[metadata["tasktype"]]
    answer = (await http.post(route, json=request)).json()
    bucket, folder = os.environ["QUEUE_AGENT_BUCKET"], metadata["id"]
    urls = []
    for number, image in enumerate(answer.pop("images"), 1):
        key = f"{folder}/{folder}-{number}.png"
        await s3.put_object(
            Bucket=bucket, Key=key, Body=base64.b64decode(image), ContentType="image/png"
        )
        urls.append(f"s3://{bucket}/{key}")
    manifest = {"id": folder, "status": "completed", "image_url": urls, "response": answer}
    await s3.put_object(
        Bucket=bucket, Key=f"{folder}/{folder}.out", Body=json.dumps(manifest).encode()
    )
    await sns.publish(
        TopicArn=os.environ["QUEUE_AGENT_TOPIC_ARN"],
        Message=json.dumps({"id": folder, "status": "completed", "image_url": urls}),
    )


if __name__ == "__main__":
    asyncio.run(work_off())
