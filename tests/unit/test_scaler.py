"""`queue-agent scaler`: what it learns from a bucket, and what it answers, on a cloud in memory."""

import json
from typing import Any

import pytest

from queue_agent.cloud.memory import Faults, ManualClock, MemoryBucket, MemoryQueue
from queue_agent.cloud.pauses import PausesMarker
from queue_agent.scaling.decision import ScalingAim
from queue_agent.scaling.job_seconds import JobSeconds
from queue_agent.scaling.manifests import ManifestReader
from queue_agent.scaling.metrics import ScalerMetrics
from queue_agent.scaling.scaler import Scaler
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.layout import pauses_key
from queue_agent.wire.pause import Pause, Pauses

AIM = ScalingAim(wait=30, start=120, most=50)


def manifest(job_id: str, run: Any, kind: str = "text-to-image", **changed: Any) -> bytes:
    """As agents write it, but for what a test says."""
    fields = {
        "version": "1",
        "runtime": "sdruntime",
        "id": job_id,
        "status": "completed",
        "result": True,
        "timings": {"run": run},
        "metadata": {"tasktype": kind, "prefix": "output"},
        **changed,
    }
    return json.dumps(fields).encode()


class Learning:
    """A bucket, and what is learned from it."""

    def __init__(self, *folders: str) -> None:
        self.clock = ManualClock()
        self.faults = Faults()
        self.bucket = MemoryBucket("results", self.clock, self.faults)
        self.learned = JobSeconds(6.0)
        self.reader = ManifestReader(self.bucket, folders or ("output",), "sdruntime", self.learned)

    def put(self, job_id: str, run: Any = 2.0, folder: str = "output", **changed: Any) -> None:
        self.raw(job_id, manifest(job_id, run, **changed), folder)

    def raw(self, job_id: str, data: bytes, folder: str = "output") -> None:
        self.bucket.put(f"{folder}/{job_id}/{job_id}-0123456789abcdef-1.png", b"x")
        self.bucket.put(f"{folder}/{job_id}/{job_id}-0123456789abcdef.out", data)


@pytest.fixture
def learning() -> Learning:
    return Learning()


async def test_each_kind_is_learned_from_its_manifests(learning: Learning) -> None:
    learning.put("a", 2.0)
    learning.put("b", 4.0)
    learning.put("c", 60.0, kind="text-to-video")
    assert await learning.reader.look() == 3
    assert learning.learned.by_kind == {"text-to-image": 3.0, "text-to-video": 60.0}
    assert learning.learned.mean == pytest.approx(22)


async def test_a_manifest_is_read_once(learning: Learning) -> None:
    learning.put("a", 2.0)
    assert [await learning.reader.look() for _ in range(3)] == [1, 0, 0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        manifest("x", 1.0, version="9"),
        manifest("x", "soon"),
        manifest("x", -3),
        manifest("x", 0),
        manifest("x", 1e300),
        manifest("x", 1.0, runtime="another"),
        manifest("x", 1.0, status="failed", result=False),
        manifest("x", 1.0) + b" " * 2**20,
        manifest("x", 1.0).replace(b"1.0", b"NaN"),
        manifest("x", 1.0).replace(b"1.0", b"Infinity"),
    ],
)
async def test_what_is_no_manifest_of_a_run_of_the_runtime_says_nothing(
    learning: Learning, data: bytes
) -> None:
    learning.raw("x", data)
    learning.put("y", 2.0)
    assert await learning.reader.look() == 1
    assert learning.learned.by_kind == {"text-to-image": 2.0}


async def test_metadata_of_other_types_are_another_kind(learning: Learning) -> None:
    learning.put("a", 2.0, metadata={"tasktype": ["x"]})
    learning.put("b", 2.0, metadata={})
    assert await learning.reader.look() == 2
    assert learning.learned.mean == 2


async def test_the_latest_are_read_of_many_and_few_at_a_time(learning: Learning) -> None:
    for number in range(300):
        learning.clock.advance(1)
        learning.put(f"{(number * 7919) % 1000:03}-{number}", float(number))
    await learning.reader.look()
    assert learning.learned.mean == pytest.approx(sum(range(280, 300)) / 20)
    reads = [call for call in learning.faults.calls if call.operation == "bucket.read"]
    assert len(reads) == 20


async def test_a_listing_is_bounded_and_goes_on_the_next_time(learning: Learning) -> None:
    for number in range(5_000):
        learning.raw(f"{number:05}", b"", folder="output")
    calls = learning.faults.calls
    await learning.reader.look()
    assert sum(call.operation == "bucket.keys" for call in calls) == 4
    learning.put("99999", 3.0)
    seen = 0
    for _ in range(3):
        seen += await learning.reader.look()
    assert seen == 1
    assert sum(call.operation == "bucket.keys" for call in calls) <= 4 * 5


async def test_what_sorts_after_all_others_is_found_at_once(learning: Learning) -> None:
    for number in range(100):
        learning.put(f"order-{number:04}", 10.0)
    await learning.reader.look()
    for number in range(100, 120):
        learning.clock.advance(1)
        learning.put(f"order-{number:04}", 2.0)
    assert await learning.reader.look() == 20
    assert learning.learned.by_kind == {"text-to-image": 2.0}


async def test_the_newest_name_is_found_at_once_in_a_large_bucket(learning: Learning) -> None:
    for number in range(2_500):  # two keys each
        learning.raw(f"{number:05}", b"")
    for _ in range(2):  # to the end; the next one begins anew
        await learning.reader.look()
    learning.put("99999", 3.0)
    assert await learning.reader.look() == 1


async def test_every_folder_of_results_is_looked_in_and_no_other() -> None:
    learning = Learning("output", "shop/results")
    learning.put("a", 2.0)
    learning.put("b", 4.0, folder="shop/results")
    learning.put("c", 100.0, folder="elsewhere")
    learning.put("d", 100.0, folder="outputs")
    await learning.reader.look()
    assert learning.learned.mean == 3


# Answers


class Asked:
    """A scaler of a queue in memory, and a clock that a test moves."""

    def __init__(self, *, settle: float = 0.0) -> None:
        self.time = 1000.0
        self.faults = Faults()
        self.queue = MemoryQueue(ManualClock(), self.faults)
        self.learned = JobSeconds(2.0)
        self.metrics = ScalerMetrics("sdruntime")
        self.bucket = MemoryBucket("results", faults=self.faults)
        self.scaler = Scaler(
            [self.queue],
            AIM,
            self.learned,
            settle=settle,
            metrics=self.metrics,
            pauses=PausesMarker(self.bucket, "sdruntime"),
            now=lambda: self.time,
            clock=lambda: self.time,
        )

    async def look(self, *, after: float = 5.0) -> None:
        self.time += after
        await self.scaler.look()

    def keda(self, location: str = "pods") -> float | None:
        """As KEDA's metrics-api trigger reads it: the number at a path, None where it fails."""
        status, body = self.scaler.answer()
        value = dict(json.loads(json.dumps(body))).get(location)
        if status != 200 or isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value)


@pytest.fixture
def asked() -> Asked:
    return Asked()


async def test_there_is_no_answer_before_the_queue_has_answered(asked: Asked) -> None:
    assert asked.keda() is None
    assert await asked.scaler.state() == {"answer": "The queue has not answered yet."}
    await asked.look()
    assert asked.keda() == 0
    assert await asked.scaler.state() == {"answer": None}


async def test_of_a_paused_runtime_only_what_runs_wants_pods(asked: Asked) -> None:
    await asked.look()
    for number in range(300):
        asked.queue.put(f"{number}", {})
    for pause, pods in ((Pause(tenant="a"), 10), (Pause(), 0)):
        asked.bucket.put(pauses_key("sdruntime"), Pauses(pauses=(pause,)).to_json())
        await asked.look()
        assert asked.keda() == pods
    (running,) = await asked.queue.receive(1, wait=0, visibility_timeout=600)
    await asked.look()
    assert asked.keda() == 1
    assert asked.scaler.answer()[1]["paused"] == "the runtime"
    asked.faults.fail("bucket.read", Unavailable("down"))
    await asked.queue.delete(running)
    await asked.look()
    assert asked.keda() == 0, "the last known state holds"
    asked.bucket.objects.clear()
    await asked.look()
    assert asked.keda() == 10


async def test_it_goes_from_zero_to_what_waits_and_back(asked: Asked) -> None:
    await asked.look()
    for number in range(300):
        asked.queue.put(f"{number}", {})
    await asked.look()
    assert asked.keda() == 10  # 600 s, 60 s for each
    while messages := await asked.queue.receive(10, wait=0, visibility_timeout=600):
        for message in messages:
            await asked.queue.delete(message)
    await asked.look()
    assert asked.keda() == 0


async def test_it_never_asks_for_more_than_the_most(asked: Asked) -> None:
    for number in range(10_000):
        asked.queue.put(f"{number}", {})
    await asked.look()
    assert asked.keda() == AIM.most


async def test_what_was_learned_counts_at_the_next_look(asked: Asked) -> None:
    for number in range(300):
        asked.queue.put(f"{number}", {})
    asked.learned.learn("text-to-image", 8.0)
    await asked.look()
    assert asked.keda() == 40
    _, body = asked.scaler.answer()
    assert body["job_seconds_by_kind"] == {"text-to-image": 8.0}


async def test_while_the_queue_refuses_the_last_answer_holds_for_half_a_minute(
    asked: Asked,
) -> None:
    for number in range(300):
        asked.queue.put(f"{number}", {})
    await asked.look()
    asked.faults.fail("queue.backlog", Unavailable("no"), times=100)
    await asked.look(after=29)
    assert asked.keda() == 10
    await asked.look(after=2)
    assert asked.keda() is None
    assert await asked.scaler.state() == {"answer": "no"}
    asked.faults.clear()
    await asked.look()
    assert asked.keda() == 10


async def test_a_new_one_only_looks_until_it_can_know_the_load() -> None:
    asked = Asked(settle=60)
    for number in range(8):
        asked.queue.put(f"{number}", {})
    await asked.queue.receive(8, wait=0, visibility_timeout=6000)
    found = []
    for _ in range(14):
        await asked.look()
        found.append(asked.keda())
    assert found[:12] == [None] * 12
    assert found[12:] == [9, 9]  # eight that are busy all the time, and one so that few wait


async def test_its_metrics_say_what_it_answers_and_by_what(asked: Asked) -> None:
    asked.queue.put("a", {})
    asked.learned.learn("text-to-image", 3.0)
    await asked.look()
    asked.faults.fail("queue.backlog", Unavailable("no"))
    await asked.look()
    page = asked.metrics.page("")[0].decode()
    for line in (
        'queue_agent_scaler_pods{runtime="sdruntime"} 1.0',
        'queue_agent_scaler_job_seconds{runtime="sdruntime"} 3.0',
        'queue_agent_scaler_kind_seconds{runtime="sdruntime",task_type="text-to-image"} 3.0',
        'queue_agent_scaler_messages{runtime="sdruntime",state="waiting"} 1.0',
        'queue_agent_scaler_looks_total{result="answered",runtime="sdruntime"} 1.0',
        'queue_agent_scaler_looks_total{result="failed",runtime="sdruntime"} 1.0',
    ):
        assert line in page.splitlines()
