"""The parts of tracing by themselves: what is continued, what is passed on, what is counted."""

import asyncio
import json
from collections.abc import Mapping

import pytest
from botocore.exceptions import ClientError
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from queue_agent.cloud import Message
from queue_agent.cloud.aws.sqs import SqsQueue
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.telemetry import continued
from queue_agent.telemetry.export import exporting
from queue_agent.telemetry.gpu import GpuClock
from queue_agent.telemetry.options import TelemetryOptions
from queue_agent.telemetry.propagation import continued_by, publishing
from queue_agent.telemetry.tracing import Telemetry, carrier, span
from queue_agent.wire.job import Job, parse_job
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.lease import Lease
from queue_agent.worker.progress import noting
from queue_agent.worker.slots import Slots

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"
XRAY = "Root=1-aaaaaaaa-aaaaaaaaaaaaaaaaaaaaaaaa;Parent=bbbbbbbbbbbbbbbb;Sampled=1"


def trace_of(attributes: Mapping[str, str]) -> str | None:
    """The trace that attributes continue."""
    found = trace.get_current_span(continued(attributes)).get_span_context()
    return trace.format_trace_id(found.trace_id) if found.is_valid else None


@pytest.mark.parametrize(
    ("attributes", "trace_id"),
    [
        ({}, None),
        ({"traceparent": TRACEPARENT}, "a" * 32),
        ({"Traceparent": TRACEPARENT}, "a" * 32),
        ({"traceparent": "nonsense"}, None),
        ({"AWSTraceHeader": XRAY}, "a" * 32),
        ({"AWSTraceHeader": "Root=nonsense"}, None),
        ({"AWSTraceHeader": ";;="}, None),
        ({"traceparent": TRACEPARENT, "AWSTraceHeader": XRAY.replace("a", "c")}, "a" * 32),
        ({"traceparent": "nonsense", "AWSTraceHeader": XRAY}, "a" * 32),
    ],
)
def test_attributes_continue_the_trace_they_name(
    attributes: dict[str, str], trace_id: str | None
) -> None:
    assert trace_of(attributes) == trace_id


@pytest.mark.parametrize(
    "body",
    ['{"traceparent"', '"traceparent"', '{"Type": "Notification", "traceparent": 1, "Message": 2}'],
)
def test_a_body_that_is_no_envelope_continues_nothing(body: str) -> None:
    assert not continued_by(Message("m", body, "r"))


async def test_without_a_trace_nothing_is_passed_on() -> None:
    with Telemetry().processing(Message("m", "{}", "r"), asked=0.0):
        assert carrier() == {}
        with publishing("jobs", "job-1") as traceparent:
            assert traceparent is None


async def test_a_publisher_without_an_sdk_passes_on_the_trace_it_is_in() -> None:
    message = Message("m", "{}", "r", attributes={"traceparent": TRACEPARENT})
    with Telemetry().processing(message, asked=0.0):
        with publishing("jobs", "job-1") as traceparent:
            assert traceparent == TRACEPARENT
        other = TRACEPARENT.replace("a", "c")
        with publishing("jobs", "job-1", other) as traceparent:
            assert traceparent == other


async def test_progress_is_not_noted_where_nothing_is_recorded() -> None:
    def report(_: object) -> None:
        return None

    assert noting(report) is report


def test_one_of_two_stopwatches_always_runs() -> None:
    now = 0.0
    clock = GpuClock(lambda: now)
    now = 2.0
    clock.note(busy=True)
    clock.note(busy=True)
    now = 5.0
    assert clock.seconds() == (3.0, 2.0)
    clock.note(busy=False)
    now = 6.0
    assert clock.seconds() == (3.0, 3.0)


async def test_the_slots_know_what_is_where_and_whether_the_gpu_works() -> None:
    slots = Slots(concurrency=1, backlog=1)
    taken = [slots.add() for _ in range(4)]
    assert slots.counts()["preparing"] == 4
    async with taken[0].turn(), asyncio.TaskGroup() as group:
        held = asyncio.Event()

        async def take(number: int) -> None:
            async with taken[number].turn():
                await held.wait()

        tasks = [group.create_task(take(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        counts = {stage: count for stage, count in slots.counts().items() if count}
        assert counts == {"running": 1, "submitted": 1, "waiting": 1, "preparing": 1}
        busy, _ = slots.gpu.seconds()
        for task in tasks:
            task.cancel()
    assert slots.gpu.seconds()[0] >= busy


class RudeSqs:
    """SQS as its SDK shows it, which renews a lease once and then takes it away."""

    def __init__(self) -> None:
        self.renewed = False
        self.taken = asyncio.Event()

    async def change_message_visibility(self, **_: object) -> None:
        if self.renewed:
            self.taken.set()
            raise lease_lost()
        self.renewed = True

    async def delete_message(self, **_: object) -> None:
        raise lease_lost()


def lease_lost() -> ClientError:
    return ClientError({"Error": {"Code": "ReceiptHandleIsInvalid"}}, "any")


async def test_renewed_and_lost_leases_are_counted() -> None:
    async with exporting(TelemetryOptions(metrics="prometheus"), runtime="sd") as exports:
        sqs = RudeSqs()

        async def client() -> RudeSqs:
            return sqs

        queue = SqsQueue(client, "https://sqs.example.com/1/jobs")
        metrics = exports.telemetry.metrics
        lease = Lease(queue, Message("m", "", "r"), duration=0.03, metrics=metrics)
        async with lease.held():
            await sqs.taken.wait()
            await lease.acknowledge(patience=0.0)
        assert exports.exposition is not None
        page = exports.exposition("")[0].decode()
    assert 'queue_agent_heartbeats_total{runtime="sd"} 1.0' in page
    assert 'queue_agent_lease_losses_total{runtime="sd"} 2.0' in page


def job(**content: str | dict[str, str]) -> Job:
    metadata = {"id": "job", "tasktype": "text-to-image"}
    return parse_job(json.dumps({"metadata": metadata, "content": content}))


async def test_a_switch_of_models_is_counted_once_per_change() -> None:
    async with exporting(TelemetryOptions(metrics="prometheus"), runtime="sd") as exports:
        jobs = [
            job(model="a"),
            job(override_settings={"sd_model_checkpoint": "a"}),
            job(prompt="any model will do"),
            job(model="b"),
            job(model="a"),
        ]
        slots, queue = Slots(concurrency=1), MemoryCloud().queue("jobs")
        for number, wanted in enumerate(jobs):
            message = Message(str(number), "{}", "r")
            lease = Lease(queue, message, duration=30)
            delivery = Delivery(message, lease, slots.add(), exports.telemetry)
            delivery.parsed(wanted)
            delivery.running()
            delivery.running()
        assert exports.exposition is not None
        page = exports.exposition("")[0].decode()
    assert 'queue_agent_model_switches_total{runtime="sd"} 2.0' in page
    assert 'queue_agent_message_hold_time_seconds_count{runtime="sd"} 5.0' in page


def test_without_a_tracer_a_span_is_the_one_around_it() -> None:
    around = TracerProvider().get_tracer("program").start_span("around")
    with trace.use_span(around), span("run") as inner:
        assert inner is around
    assert around.is_recording()
