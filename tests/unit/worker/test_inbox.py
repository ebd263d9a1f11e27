"""What a message may make an agent read: how much of it, and from where."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from foreign_bodies import POINTERS, event_bridge
from queue_agent.cloud import Message
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.inputs.references import ReferenceFetcher, ReferencePolicy
from queue_agent.wire.errors import Malformed, Rejected
from queue_agent.wire.job import Job, Metadata
from queue_agent.wire.message import read_message
from queue_agent.wire.pointer import PayloadPointer
from queue_agent.wire.publication import LARGEST_PAYLOAD, offloaded, publication_of
from queue_agent.worker import inbox as inbox_module
from queue_agent.worker.inbox import Inbox

MARKER = "software.amazon.payloadoffloading.PayloadS3Pointer"
KEY = "payloads/a.json"
SECRET = {"customer": "of another"}


def body(content: str = '{"prompt": "x"}', job_id: str = "order-1") -> str:
    metadata = {"id": job_id, "tasktype": "text-to-image", "context": SECRET}
    return f'{{"metadata": {json.dumps(metadata)}, "content": {content}}}'


def pointer(key: str = KEY, bucket: str = "results") -> str:
    return json.dumps([MARKER, {"s3BucketName": bucket, "s3Key": key}])


def envelope(text: str) -> str:
    return json.dumps({"Type": "Notification", "Message": text})


class Reader:
    """An inbox, and the bucket that pointers lead into."""

    def __init__(self, *places: str) -> None:
        self.cloud = MemoryCloud()
        self.bucket = self.cloud.bucket("results")
        policy = ReferencePolicy(buckets=frozenset(places or {"results"}))
        self.inbox = Inbox(
            self.cloud.bucket,
            may_read=ReferenceFetcher(policy, self.cloud.bucket).may_read,
            task_types={"text-to-image"},
            runtime_name=None,
        )

    async def read(self, text: str) -> Job:
        return await self.inbox.open(Message("message", text, "receipt"))


LISTS = "[" + "[]," * 200_000 + "[]]"
BOMBS = {
    "empty lists": f'{{"a": {LISTS}}}',
    "empty objects": '{"a": [' + "{}," * 200_000 + "{}]}",
    "numbers": '{"a": [' + "1," * 200_000 + "1]}",
    "fields": "{" + ",".join(f'"{number}":0' for number in range(200_000)) + "}",
    "depth": '{"a": ' + "[" * 5000 + "]" * 5000 + "}",
    "depth of objects": '{"a": ' + '{"a":' * 5000 + "0" + "}" * 5000 + "}",
}
WAYS: dict[str, Callable[[str], str]] = {
    "raw": lambda text: text,
    "in an envelope": envelope,
    "wrapped": lambda text: f'{{"task": {text}}}',
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_message_of_more_values_than_a_job_may_have_is_malformed(
    way: str, bomb: str
) -> None:
    with pytest.raises(Malformed, match="More than"):
        await Reader().read(WAYS[way](body(BOMBS[bomb])))


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_payload_of_more_values_than_a_job_may_have_is_malformed(bomb: str) -> None:
    reader = Reader()
    reader.bucket.put(KEY, body(BOMBS[bomb]).encode())
    with pytest.raises(Malformed, match="More than"):
        await reader.read(pointer())


@pytest.mark.parametrize(
    "text",
    [
        f'{{"Type": "Notification", "Message": "x", "MessageAttributes": {LISTS}}}',
        f"[{json.dumps(MARKER)}, {LISTS}]",
        LISTS,
    ],
    ids=["envelope", "pointer", "list"],
)
async def test_what_is_around_a_job_is_bounded_too(text: str) -> None:
    for whole in (text, envelope(text)):
        with pytest.raises(Malformed, match="More than"):
            await Reader().read(whole)


async def test_a_job_with_a_large_image_is_read() -> None:
    reader = Reader()
    picture = "[{" * 1_000_000
    reader.bucket.put(KEY, body(json.dumps({"init_images": [picture]})).encode())
    assert (await reader.read(pointer())).content == {"init_images": [picture]}


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each job was parsed in the loop's own thread; none while another was."""
    seen: list[bool] = []
    lock, own = threading.Lock(), threading.get_ident()

    def read_alone(*message: Any) -> Job | PayloadPointer:
        if message[0] == pointer():
            return read_message(*message)
        if not lock.acquire(blocking=False):
            raise AssertionError("two at once")
        try:
            seen.append(threading.get_ident() == own)
            return read_message(*message)
        finally:
            lock.release()

    monkeypatch.setattr(inbox_module, "read_message", read_alone)
    return seen


@pytest.mark.parametrize("size", [40_000, 300_000, 3_000_000])
async def test_what_is_large_is_parsed_off_the_loop_and_one_at_a_time(
    readings: list[bool], size: int
) -> None:
    reader = Reader()
    large = body(json.dumps({"prompt": "x" * size}))
    reader.bucket.put(KEY, large.encode())
    await asyncio.gather(*(reader.read(text) for text in (large, envelope(large), pointer()) * 3))
    assert readings == [False] * 9


async def test_what_is_small_is_parsed_where_it_is(readings: list[bool]) -> None:
    await Reader().read(body())
    assert readings == [True]


@pytest.mark.parametrize("size", [LARGEST_PAYLOAD + 1, 2 * LARGEST_PAYLOAD])
async def test_no_door_and_no_agent_takes_a_larger_payload_than_fits_the_container(
    size: int,
) -> None:
    reader = Reader()
    reader.bucket.put(KEY, bytes(size))
    with pytest.raises(Malformed) as error:
        await reader.read(pointer())
    assert error.value.type == "payload_too_large"
    job = Job(metadata=Metadata(id="a", tasktype="b"), content={"image": "x" * size})
    with pytest.raises(Rejected) as refusal:
        offloaded(job, publication_of(job), bucket="results")
    assert refusal.value.type == "payload_too_large"


@pytest.mark.parametrize(
    "key",
    [
        "output/order-1/order-1-0123456789abcdef.out",
        "cancelled/order-1",
        "gateway/jobs/order-1.json",
        "inputs/0123.json",
        "quarantine/2026-01-01/m.json",
        "payloads",
        "payloads.json",
        "payloads-of-others/a.json",
        "/payloads/a.json",
        "a/payloads/a.json",
        "PAYLOADS/a.json",
        "payloads\\a.json",
        "payloads/../output/a.json",
        "payloads/./a.json",
        "payloads/..",
        "payloads/..\\output\\a.json",
        "payloads/%2e%2e/output/a.json",
        "payloads/%2E./a.json",
        "payloads/..%2foutput%2fa.json",
        "payloads/\uff0e\uff0e/a.json",
        "payloads/\u2025/a.json",
        "payloads/a\n.json",
        "payloads/a%0a.json",
        "payloads/" + "x" * 1024,
    ],
)
async def test_payloads_are_read_from_their_folder_only(key: str) -> None:
    reader = Reader()
    reader.bucket.put(key, body().encode())
    with pytest.raises(Malformed) as error:
        await reader.read(pointer(key))
    assert error.value.type == "payload_forbidden"


@pytest.mark.parametrize(
    "bucket",
    [
        "elsewhere",
        "results/../elsewhere",
        "results/output",
        "results/",
        "..",
        "results..",
        "re..sults",
        "Results",
        "r\u00e9sults",
        "\uff52esults",
        "re_sults",
        "-results",
        "results\n",
        "results?x=y",
        "results@elsewhere",
        "192.168.0.1",
        "arn:aws:s3:::results",
        "re",
        "r" * 64,
    ],
)
async def test_payloads_are_read_from_buckets_only_that_are_allowed_and_can_be(
    bucket: str,
) -> None:
    reader = Reader(bucket, "results") if bucket != "elsewhere" else Reader()
    reader.cloud.bucket(bucket).put(KEY, body().encode())
    with pytest.raises(Malformed) as error:
        await reader.read(pointer(bucket=bucket))
    assert error.value.type == "payload_forbidden"


FAULTY = {
    "no task type": '{"metadata": {"id": "victim", "context": 1}, "content": {}}',
    "no content": '{"metadata": {"id": "victim", "tasktype": "a", "context": 1}}',
    "a manifest": '{"metadata": {"id": "victim", "context": 1}, "response": {}, "id": "victim"}',
    "a wrong prefix": body().replace('"tasktype"', '"prefix": "gateway", "tasktype"'),
    "a wrapped job": '{"task": {"metadata": {"id": "victim", "context": 1}}}',
    "a number": '{"metadata": {"id": "victim", "context": 1}, "content": {"a": 1e999}}',
}


@pytest.mark.parametrize("faulty", FAULTY)
async def test_nothing_is_told_of_a_body_that_a_pointer_led_to(faulty: str) -> None:
    reader = Reader()
    reader.bucket.put(KEY, FAULTY[faulty].encode())
    with pytest.raises(Malformed) as error:
        await reader.read(pointer())
    assert error.value.details == {}
    assert "victim" not in error.value.message


async def test_a_publisher_is_answered_by_id_for_what_is_in_the_message() -> None:
    with pytest.raises(Malformed) as error:
        await Reader().read(FAULTY["no content"])
    assert error.value.details == {"id": "victim", "context": 1}


@pytest.mark.parametrize("name", POINTERS)
async def test_a_pointer_of_any_library_is_followed_to_payloads_only(name: str) -> None:
    reader = Reader()
    reader.bucket.put(KEY, body().encode())
    assert (await reader.read(POINTERS[name])).id == "order-1"
    for elsewhere in (
        POINTERS[name].replace(KEY, "output/a.json"),
        POINTERS[name].replace("results", "foreign"),
    ):
        with pytest.raises(Malformed) as error:
            await reader.read(elsewhere)
        assert error.value.type == "payload_forbidden"


async def test_a_pointer_in_an_attribute_is_followed_to_payloads_only() -> None:
    reader = Reader()
    reader.bucket.put("payloads/a", body().encode())
    reader.bucket.put("output/a", body().encode())
    for key, is_read in (("payloads/a", True), ("output/a", False)):
        message = Message("m", key, "r", attributes={"S3MessageBodyKey": f"(results){key}"})
        if is_read:
            assert (await reader.inbox.open(message)).id == "order-1"
        else:
            with pytest.raises(Malformed, match="may not be read"):
                await reader.inbox.open(message)


async def test_a_pointer_to_a_pointer_is_not_followed() -> None:
    reader = Reader()
    reader.bucket.put(KEY, pointer("payloads/b.json").encode())
    reader.bucket.put("payloads/b.json", body().encode())
    with pytest.raises(Malformed) as error:
        await reader.read(pointer())
    assert error.value.type == "payload_forbidden"


async def test_what_a_pointer_leads_to_is_opened_as_a_message_is() -> None:
    reader = Reader()
    for payload in (envelope(body()), f"\ufeff{body()}", event_bridge(body())):
        reader.bucket.put(KEY, payload.encode())
        assert (await reader.read(pointer())).id == "order-1"


async def test_a_bomb_behind_a_wrapping_is_counted_too() -> None:
    bomb = body(BOMBS["empty lists"])
    encoded = base64.b64encode(bomb.encode()).decode()
    for text in (encoded, json.dumps(bomb), envelope(envelope(bomb)), event_bridge(bomb)):
        with pytest.raises(Malformed, match="More than"):
            await Reader().read(text)
