"""The bound: the bare pipelined loop, on an HTTP client and nothing else.

    python -m benchmarks.bare

It does the agent's visible work (receive, run, upload image and manifest, publish, delete) in
the agent's shape: it prefetches, keeps two requests at the runtime and uploads beside them. It
keeps none of the agent's promises: no lease is renewed, no work done before is looked for,
nothing can be cancelled, nothing is written conditionally, tried again, checked, logged or
measured. What it takes is what no agent of this shape, in this language, can do without.

Requests are put together and signed here, with their payloads, as the SDK does without TLS. Jobs
must be `text-to-image`.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import aiohttp
import uvloop
from yarl import URL

_PREFETCH: Final = 10
_AT_RUNTIME: Final = 2


class SignedHttp:
    """Requests to the cloud by plain HTTP, signed with Signature Version 4.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._endpoint = os.environ["AWS_ENDPOINT_URL"]
        self._host = urlsplit(self._endpoint).netloc
        self._region = os.environ["AWS_REGION"]

    async def receive(self, count: int) -> list[dict[str, Any]]:
        answer = await self._sqs(
            "ReceiveMessage", {"MaxNumberOfMessages": count, "WaitTimeSeconds": 20}
        )
        return list(json.loads(answer).get("Messages", ()))

    async def delete(self, receipt: str) -> None:
        await self._sqs("DeleteMessage", {"ReceiptHandle": receipt})

    async def _sqs(self, operation: str, asked: dict[str, Any]) -> bytes:
        body = json.dumps({"QueueUrl": os.environ["QUEUE_AGENT_QUEUE_URL"], **asked}).encode()
        headers = {
            "content-type": "application/x-amz-json-1.0",
            "x-amz-target": f"AmazonSQS.{operation}",
        }
        return await self._send("sqs", "POST", "/", body, headers)

    async def publish(self, message: str) -> None:
        topic = os.environ["QUEUE_AGENT_TOPIC_ARN"]
        asked = {"Action": "Publish", "Version": "2010-03-31", "TopicArn": topic}
        body = urlencode({**asked, "Message": message}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        await self._send("sns", "POST", "/", body, headers)

    async def upload(self, key: str, body: bytes, media_type: str) -> str:
        bucket = os.environ["QUEUE_AGENT_BUCKET"]
        headers = {"content-type": media_type}
        await self._send("s3", "PUT", f"/{bucket}/{key}", body, headers)
        return f"s3://{bucket}/{key}"

    async def _send(
        self,
        service: str,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
    ) -> bytes:
        headers["host"] = self._host
        headers["x-amz-date"] = moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{moment[:8]}/{self._region}/{service}/aws4_request"
        headers["x-amz-content-sha256"] = digest = hashlib.sha256(body).hexdigest()
        headers["authorization"] = authorization(method, path, headers, digest, scope)
        url = URL(self._endpoint + path)
        async with self._http.request(method, url, data=body, headers=headers) as answer:
            answer.raise_for_status()
            return await answer.read()


def authorization(
    method: str, path: str, headers: Mapping[str, str], digest: str, scope: str
) -> str:
    """The header that signs a request without a query; all its `headers` are signed.

    Their names are in lower case. `digest` is the body's SHA-256.
    """
    names = sorted(headers)
    lines = "".join(f"{name}:{headers[name]}\n" for name in names)
    request = f"{method}\n{path}\n\n{lines}\n{';'.join(names)}\n{digest}"
    digested = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{digested}"
    key = _signing_key(scope, os.environ["AWS_SECRET_ACCESS_KEY"])
    return (
        f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, "
        f"SignedHeaders={';'.join(names)}, "
        f"Signature={hmac.digest(key, text.encode(), 'sha256').hex()}"
    )


@lru_cache(maxsize=8)
def _signing_key(scope: str, secret: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


async def work_off() -> None:
    """Work on messages until the process is ended."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
        asyncio.TaskGroup() as tasks,
    ):
        cloud = SignedHttp(http)
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        room = asyncio.Semaphore(_PREFETCH)

        async def work() -> None:
            while True:
                message = await messages.get()
                room.release()
                job = json.loads(message["Body"])
                answer = await _run(job, http)
                tasks.create_task(_deliver(job, answer, message["ReceiptHandle"], cloud))

        for _ in range(_AT_RUNTIME):
            tasks.create_task(work())
        while True:
            await room.acquire()
            count = 1
            while count < _PREFETCH and not room.locked():
                await room.acquire()
                count += 1
            received = await cloud.receive(count)
            for message in received:
                messages.put_nowait(message)
            for _ in range(count - len(received)):
                room.release()


async def _run(job: dict[str, Any], http: aiohttp.ClientSession) -> dict[str, Any]:
    route = os.environ["QUEUE_AGENT_RUNTIME_URL"] + "/sdapi/v1/txt2img"
    async with http.post(route, json=job["content"]) as answer:
        answer.raise_for_status()
        found: dict[str, Any] = await answer.json()
    return found


async def _deliver(
    job: dict[str, Any], answer: dict[str, Any], receipt: str, cloud: SignedHttp
) -> None:
    job_id = job["metadata"]["id"]
    urls = [
        await cloud.upload(f"{job_id}/{job_id}-{number}.png", base64.b64decode(image), "image/png")
        for number, image in enumerate(answer.pop("images"), 1)
    ]
    ending = {"id": job_id, "status": "completed", "image_url": urls}
    manifest = json.dumps({**ending, "response": answer}).encode()
    await cloud.upload(f"{job_id}/{job_id}.out", manifest, "application/json")
    await cloud.publish(json.dumps(ending))
    await cloud.delete(receipt)


if __name__ == "__main__":
    uvloop.run(work_off())
