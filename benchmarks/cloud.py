"""SQS, SNS and S3, emulated so cheaply that the emulator is not what is measured.

    python -m benchmarks.cloud --port 9000

Only what the agent asks is answered: no account, no signature is checked, and every queue,
topic and bucket exists as soon as it is named. Each call takes its `Latency`, and is counted
for the access key id that signed it, so that every subject of the benchmark has an account.

Under ``/fake`` (JSON): POST ``reset`` {"latency": name}, ``send`` {"queue", "bodies"} and
``mark`` (forget what was recorded); GET ``emptied?QUEUE`` answers when that queue is empty,
``record`` tells what happened. ``/input/BYTES/NAME.png`` is an image of that size.
"""

import argparse
import asyncio
import itertools
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

from aiohttp import web
from pydantic import JsonValue

from benchmarks.images import noise_png, stored_png
from benchmarks.latency import LATENCIES, Latency
from benchmarks.queues import EmulatedQueue, QueuedMessage
from benchmarks.web import as_json, body_of, serve

JsonObject = dict[str, Any]

_ACCOUNT = re.compile(r"Credential=([^/]+)/")
_JOB_ID = re.compile(r'\\?"id\\?": ?\\?"([^"\\]+)')
_S3_OPERATIONS = {
    "GET": "GetObject",
    "HEAD": "HeadObject",
    "PUT": "PutObject",
    "DELETE": "DeleteObject",
}
_UPLOAD_OPERATIONS = {  # by method, and whether it is the first request
    ("POST", True): "CreateMultipartUpload",
    ("PUT", False): "UploadPart",
    ("POST", False): "CompleteMultipartUpload",
    ("DELETE", False): "AbortMultipartUpload",
}
_KEPT_OBJECT = 64 * 1024
"""Larger objects are kept as their size only."""
_VISIBILITY_TIMEOUT = 30


@dataclass
class CallRecord:
    """What happened since the last mark, by the monotonic clock."""

    calls: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    received: list[tuple[str, float]] = field(default_factory=list)
    """Job and moment of every delivery."""
    notified: list[tuple[str, str, float]] = field(default_factory=list)
    """Job, status and moment of every notification."""
    first_receive: dict[str, float] = field(default_factory=dict)
    """When an account first asked for messages; a mark does not forget it."""

    def mark(self) -> None:
        self.calls.clear()
        self.received.clear()
        self.notified.clear()


class ServiceError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class EmulatedCloud:
    """All services on one port, told apart by what only their requests have."""

    def __init__(self) -> None:
        self._latency: Latency = LATENCIES["0 ms"]
        self._queues: defaultdict[str, EmulatedQueue] = defaultdict(EmulatedQueue)
        self._objects: dict[str, bytes | int] = {}
        self._uploads: dict[str, int] = {}
        """Bytes so far of the uploads in parts, by their ids."""
        self._record = CallRecord()
        self._ids = itertools.count(1)

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        if request.path.startswith("/fake/"):
            return await self._control(request)
        if request.path.startswith("/input/"):
            return await self._input(request)
        if target := request.headers.get("X-Amz-Target"):
            return await self._sqs(request, target.rpartition(".")[2])
        if request.content_type == "application/x-www-form-urlencoded":
            return await self._sns(request)
        return await self._s3(request)

    async def _control(self, request: web.BaseRequest) -> web.Response:
        asked = json.loads(await body_of(request) or b"{}")
        match request.path.removeprefix("/fake/"):
            case "reset":
                self._latency = LATENCIES[asked["latency"]]
                self._queues.clear()
                self._objects.clear()
                self._record = CallRecord()
            case "send":
                self._queues[asked["queue"]].send(*asked["bodies"])
            case "mark":
                self._record.mark()
            case "emptied":
                await self._queues[request.query_string].emptied()
            case "record":
                return as_json(self._report())
        return as_json({"at": time.monotonic()})

    def _report(self) -> JsonValue:
        record = self._record
        return {
            "calls": {account: dict(calls) for account, calls in record.calls.items()},
            "received": [list(entry) for entry in record.received],
            "notified": [list(entry) for entry in record.notified],
            "first_receive": dict(record.first_receive),
            "depths": {
                name: [list(depth) for depth in queue.depths]
                for name, queue in self._queues.items()
            },
        }

    async def _input(self, request: web.BaseRequest) -> web.Response:
        size = int(request.path.split("/")[2])
        await asyncio.sleep(self._latency.of("input", "input"))
        return web.Response(body=_input_image(size), content_type="image/png")

    def _count(self, request: web.BaseRequest, operation: str) -> str:
        found = _ACCOUNT.search(request.headers.get("Authorization", ""))
        account = found[1] if found else "unsigned"
        self._record.calls[account][operation] += 1
        return account

    # SQS: JSON protocol

    async def _sqs(self, request: web.BaseRequest, operation: str) -> web.Response:
        asked: JsonObject = json.loads(await body_of(request))
        account = self._count(request, operation)
        half = self._latency.of("sqs", operation) / 2
        if operation == "ReceiveMessage":
            self._record.first_receive.setdefault(account, time.monotonic())
        await asyncio.sleep(half)
        queue = self._queues[str(asked["QueueUrl"]).rpartition("/")[2]]
        try:
            answer = await self._act(queue, operation, asked)
            status = 200
        except ServiceError as error:
            answer = {"__type": f"com.amazonaws.sqs#{error.code}", "message": error.code}
            status = error.status
        await asyncio.sleep(half)
        return as_json(answer, status=status)

    async def _act(self, queue: EmulatedQueue, operation: str, asked: JsonObject) -> JsonObject:
        match operation:
            case "ReceiveMessage":
                return await self._receive(queue, asked)
            case "DeleteMessage" | "DeleteMessageBatch":
                entries = asked.get("Entries", [asked])
                for entry in entries:
                    queue.delete(entry["ReceiptHandle"])  # an old receipt is no error
                return {"Successful": [{"Id": entry["Id"]} for entry in asked.get("Entries", ())]}
            case "ChangeMessageVisibility":
                if queue.hide(asked["ReceiptHandle"], asked["VisibilityTimeout"]):
                    return {}
                raise ServiceError(400, "MessageNotInflight")
            case "ChangeMessageVisibilityBatch":
                return _change_batch(queue, asked["Entries"])
            case "GetQueueAttributes":
                return {"Attributes": {"VisibilityTimeout": str(_VISIBILITY_TIMEOUT)}}
            case "SendMessage":
                sent = queue.send(asked["MessageBody"])[0]
                return {"MessageId": sent.id, "MD5OfMessageBody": sent.md5}
        raise ServiceError(400, "UnsupportedOperation")

    async def _receive(self, queue: EmulatedQueue, asked: JsonObject) -> JsonObject:
        taken = await queue.receive(
            asked.get("MaxNumberOfMessages", 1),
            wait=asked.get("WaitTimeSeconds", 0),
            visibility=asked.get("VisibilityTimeout", _VISIBILITY_TIMEOUT),
        )
        now = time.monotonic()
        self._record.received += [(_job_id(message.body), now) for message in taken]
        return {"Messages": [_delivery(message) for message in taken]} if taken else {}

    # SNS: query protocol

    async def _sns(self, request: web.BaseRequest) -> web.Response:
        asked = dict(parse_qsl((await body_of(request)).decode()))
        operation = asked["Action"]
        self._count(request, operation)
        half = self._latency.of("sns", operation) / 2
        await asyncio.sleep(half)
        result = self._publish(operation, asked)
        await asyncio.sleep(half)
        answer = f"<{operation}Response><{operation}Result>{result}</{operation}Result>"
        answer += (
            f"<ResponseMetadata><RequestId>{next(self._ids)}</RequestId></ResponseMetadata>"
            f"</{operation}Response>"
        )
        return web.Response(text=answer, content_type="text/xml")

    def _publish(self, operation: str, asked: dict[str, str]) -> str:
        if operation == "Publish":
            self._heard(asked["Message"])
            return f"<MessageId>{next(self._ids)}</MessageId>"
        if operation == "PublishBatch":
            members = ""
            for number in itertools.count(1):
                entry = f"PublishBatchRequestEntries.member.{number}"
                if f"{entry}.Id" not in asked:
                    break
                self._heard(asked[f"{entry}.Message"])
                members += (
                    f"<member><Id>{escape(asked[f'{entry}.Id'])}</Id>"
                    f"<MessageId>{next(self._ids)}</MessageId></member>"
                )
            return f"<Successful>{members}</Successful><Failed/>"
        return ""

    def _heard(self, message: str) -> None:
        notification = json.loads(message)
        self._record.notified.append((notification["id"], notification["status"], time.monotonic()))

    # S3: path-style addresses

    async def _s3(self, request: web.BaseRequest) -> web.Response:
        body = await body_of(request)
        operation = _S3_OPERATIONS.get(request.method, request.method)
        if "list-type" in request.query:
            operation = "ListObjectsV2"
        elif {"uploads", "uploadId"} & request.query.keys():
            operation = _UPLOAD_OPERATIONS[request.method, "uploads" in request.query]
        self._count(request, operation)
        half = self._latency.of("s3", operation) / 2
        await asyncio.sleep(half)
        try:
            answer = self._store(operation, unquote(request.path), body, request)
        except ServiceError as error:
            text = f"<Error><Code>{error.code}</Code><Message>{error.code}</Message></Error>"
            body = b"" if request.method == "HEAD" else text.encode()
            answer = web.Response(body=body, status=error.status, content_type="application/xml")
        await asyncio.sleep(half)
        return answer

    def _store(
        self, operation: str, path: str, body: bytes, request: web.BaseRequest
    ) -> web.Response:
        if operation == "PutObject":
            if path in self._objects and request.headers.get("If-None-Match") == "*":
                raise ServiceError(412, "PreconditionFailed")
            self._objects[path] = body if len(body) <= _KEPT_OBJECT else len(body)
            return web.Response(headers={"ETag": '"0"'})
        if operation in _UPLOAD_OPERATIONS.values():
            return self._upload(operation, path, body, request)
        if operation == "DeleteObject":
            self._objects.pop(path, None)
            return web.Response(status=204)
        if operation == "ListObjectsV2":
            return self._list(path.strip("/"), request.query)
        kept = self._objects.get(path)
        if kept is None:
            raise ServiceError(404, "NoSuchKey")
        content = kept if isinstance(kept, bytes) else bytes(kept)
        return web.Response(body=content, headers={"ETag": '"0"'})

    def _upload(
        self, operation: str, path: str, body: bytes, request: web.BaseRequest
    ) -> web.Response:
        if operation == "CreateMultipartUpload":
            upload = str(next(self._ids))
            self._uploads[upload] = 0
            return _in_xml(operation, f"<UploadId>{upload}</UploadId>")
        upload = request.query["uploadId"]
        if operation == "UploadPart":
            self._uploads[upload] += len(body)
            return web.Response(headers={"ETag": '"0"'})
        size = self._uploads.pop(upload, 0)
        if operation == "AbortMultipartUpload":
            return web.Response(status=204)
        if path in self._objects and request.headers.get("If-None-Match") == "*":
            raise ServiceError(412, "PreconditionFailed")
        self._objects[path] = size
        return _in_xml(operation, '<ETag>"0"</ETag>')

    def _list(self, bucket: str, asked: Mapping[str, str]) -> web.Response:
        root = f"/{bucket}/"
        names = sorted(path.removeprefix(root) for path in self._objects if path.startswith(root))
        prefix, most = asked.get("prefix", ""), int(asked.get("max-keys", 1000))
        found = [name for name in names if name.startswith(prefix)][:most]
        entries = "".join(f"<Contents><Key>{escape(name)}</Key></Contents>" for name in found)
        text = f"<ListBucketResult><KeyCount>{len(found)}</KeyCount>{entries}</ListBucketResult>"
        return web.Response(text=text, content_type="application/xml")


def _in_xml(operation: str, content: str) -> web.Response:
    text = f"<{operation}Result>{content}</{operation}Result>"
    return web.Response(text=text, content_type="application/xml")


def _change_batch(queue: EmulatedQueue, entries: list[JsonObject]) -> JsonObject:
    done: list[JsonObject] = []
    failed: list[JsonObject] = []
    for entry in entries:
        if queue.hide(entry["ReceiptHandle"], entry.get("VisibilityTimeout", 0)):
            done.append({"Id": entry["Id"]})
        else:
            failed.append({"Id": entry["Id"], "SenderFault": True, "Code": "MessageNotInflight"})
    return {"Successful": done, "Failed": failed}


def _delivery(message: QueuedMessage) -> JsonObject:
    return {
        "MessageId": message.id,
        "ReceiptHandle": message.receipt,
        "MD5OfBody": message.md5,
        "Body": message.body,
        "Attributes": {
            "ApproximateReceiveCount": str(message.receives),
            "SentTimestamp": str(round(message.sent * 1000)),
        },
    }


def _job_id(body: str) -> str:
    found = _JOB_ID.search(body)
    return found[1] if found else ""


@cache
def _input_image(size: int) -> bytes:
    return noise_png(size) if size < 780_000 else stored_png(size)


def main() -> None:
    parser = argparse.ArgumentParser(description="A cheap emulation of SQS, SNS and S3.")
    parser.add_argument("--port", type=int, required=True)
    port: int = parser.parse_args().port
    asyncio.run(serve(EmulatedCloud(), port))


if __name__ == "__main__":
    main()
