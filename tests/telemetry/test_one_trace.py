"""One trace from the publisher to the subscriber, reassembled from what every program exports."""

import json
import sys
from pathlib import Path

import pytest

from harness import Scene
from queue_agent.cloud import Message
from queue_agent.telemetry import continued
from queue_agent.telemetry.export import exporting
from queue_agent.telemetry.options import TelemetryOptions
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess
from queue_agent.wire.job import open_envelope
from telemetry.collector import Collector, Seen
from telemetry.stages import notified, subscribed, traced_stage

STEPS = ("receive", "parse", "find", "prepare", "wait", "run", "store", "notify", "acknowledge")
XRAY_ROOT = "5f84c7a9e0d1f2a3b4c5d6e7"


async def handled(message: Message, collector: Collector) -> None:
    """What a subscriber does who traces: it goes on in the trace of the notification."""
    attributes = open_envelope(message.body, message.attributes).attributes
    options = TelemetryOptions(
        traces="otlp", endpoint=collector.url, protocol="http/protobuf", service="subscriber"
    )
    async with exporting(options) as exports:
        exports.telemetry.tracer.start_span("handle", continued(attributes)).end()


def by_name(trace: list[Seen]) -> dict[str, Seen]:
    return {seen.name: seen for seen in trace}


def ancestors(seen: Seen, trace: list[Seen]) -> list[str]:
    """Names of the spans above, from the nearest to the root."""
    known = {other.id: other for other in trace}
    above = []
    while seen.parent in known:
        seen = known[seen.parent]
        above.append(seen.name)
    return above


@pytest.mark.parametrize(
    ("kind", "generate", "raw"),
    [("webui", "POST /sdapi/v1/txt2img", False), ("comfyui", "POST /prompt", True)],
)
async def test_one_trace_leads_from_the_publisher_through_the_runtime_to_the_subscriber(
    embedded_cloud: EmbeddedCloud,
    tmp_path: Path,
    collector: Collector,
    kind: str,
    generate: str,
    raw: bool,
) -> None:
    async with (
        traced_stage(embedded_cloud, tmp_path, collector, kind, raw=raw) as stage,
        subscribed(stage) as heard,
    ):
        stage.start_agent()
        publish(stage, collector, "order-1")
        await stage.answer("order-1")
        await handled(await notified(stage, heard), collector)
        process = f"process {stage.deployment.runtime_name}"
        submit = f"publish {stage.deployment.runtime_name}-jobs"
        trace = await collector.trace_with(submit, process, *STEPS, generate, "handle")

    spans = by_name(trace)
    assert {seen.service for seen in trace} == {"publisher", "queue-agent", "runtime", "subscriber"}
    assert ancestors(spans["handle"], trace) == ["notify", process, submit]
    assert ancestors(spans[generate], trace) == ["run", process, submit]
    for step in STEPS:
        assert ancestors(spans[step], trace) == [process, submit], step
    assert spans["run"].events[:1] == ["running"]
    assert "progress" in spans["run"].events
    assert not any(seen.failed for seen in trace)
    consumer = spans[process].attributes
    assert consumer["messaging.system"] == "aws_sqs"
    assert consumer["messaging.destination.name"] == stage.deployment.runtime_name
    assert consumer["queue_agent.job.id"] == "order-1"
    assert consumer["queue_agent.job.status"] == "completed"
    beginnings = [spans[step].span.start_time_unix_nano for step in STEPS]
    assert beginnings == sorted(beginnings)


async def test_a_trace_begun_by_x_ray_is_continued_and_passed_on_in_both_forms(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, collector: Collector
) -> None:
    header = f"Root=1-67890abc-{XRAY_ROOT};Parent=53995c3f42cd8ad8;Sampled=1"
    async with (
        traced_stage(embedded_cloud, tmp_path, collector, "webui", raw=False) as stage,
        subscribed(stage) as heard,
    ):
        stage.start_agent(QUEUE_AGENT_TRACES="xray")
        sqs = await stage.cloud.client("sqs")
        await sqs.send_message(
            QueueUrl=stage.deployment.queue_url,
            MessageBody=json.dumps(stage.job("order-2")),
            MessageSystemAttributes={
                "AWSTraceHeader": {"DataType": "String", "StringValue": header}
            },
        )
        await stage.answer("order-2")
        message = await notified(stage, heard)
        process = f"process {stage.deployment.runtime_name}"
        trace = await collector.trace_with(process, *STEPS, "POST /sdapi/v1/txt2img")

    assert {seen.trace_id for seen in trace} == {f"67890abc{XRAY_ROOT}"}
    spans = by_name(trace)
    assert spans[process].parent == "53995c3f42cd8ad8"
    attributes = open_envelope(message.body, message.attributes).attributes
    notify = spans["notify"]
    assert attributes["traceparent"] == f"00-{notify.trace_id}-{notify.id}-01"
    assert attributes["X-Amzn-Trace-Id"] == (
        f"Root=1-67890abc-{XRAY_ROOT};Parent={notify.id};Sampled=1"
    )


async def test_a_publisher_that_does_not_sample_is_heeded(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, collector: Collector
) -> None:
    async with traced_stage(embedded_cloud, tmp_path, collector, "webui", raw=True) as stage:
        stage.start_agent()
        unsampled, sampled = "1" * 32, "2" * 32
        await stage.publish(stage.job("quiet"), traceparent=f"00-{unsampled}-{'3' * 16}-00")
        await stage.answer("quiet")
        await stage.publish(stage.job("loud"), traceparent=f"00-{sampled}-{'3' * 16}-01")
        await stage.answer("loud")
        await collector.trace_with("acknowledge")
    assert {seen.trace_id for seen in collector.spans} == {sampled}


async def test_a_failed_job_marks_its_journey_and_the_step_that_failed(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, collector: Collector
) -> None:
    async with traced_stage(embedded_cloud, tmp_path, collector, "webui", raw=True) as stage:
        stage.start_agent()
        content = {"prompt": "refused", "steps": "many"}
        await stage.publish(stage.job("refused", content))
        await stage.answer("refused")
        whole = f"process {stage.deployment.runtime_name}"
        trace = await collector.trace_with("run", "acknowledge", whole)
    failed = {seen.name: seen for seen in trace if seen.failed}
    assert set(failed) == {"run", whole}
    assert failed["run"].attributes["error.type"] == "runtime_rejected"
    assert "exception" in failed["run"].events
    assert "integer" in failed["run"].span.status.message


async def test_log_lines_of_a_job_name_its_trace(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, collector: Collector
) -> None:
    async with traced_stage(embedded_cloud, tmp_path, collector, "webui", raw=True) as stage:
        agent = stage.start_agent(QUEUE_AGENT_LOG_FORMAT="json")
        trace_id = "4" * 32
        await stage.publish(stage.job("logged"), traceparent=f"00-{trace_id}-{'3' * 16}-01")
        await stage.answer("logged")
        spans = by_name(await collector.trace_with("acknowledge"))
        assert agent.log is not None
        text = agent.log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if '"job_id": "logged"' in line]
    assert {line["trace_id"] for line in lines} == {trace_id}
    notified_line = next(line for line in lines if line["event"] == "notified")
    assert notified_line["span_id"] == spans["notify"].id


async def test_with_traces_off_a_trace_still_passes_through(stage: Scene) -> None:
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    async with subscribed(stage) as heard:
        stage.start_agent()
        await stage.publish(stage.job("through"), traceparent=traceparent)
        await stage.answer("through")
        message = await notified(stage, heard)
    attributes = json.loads(message.body)["MessageAttributes"]
    assert attributes["traceparent"]["Value"] == traceparent


def publish(stage: Scene, collector: Collector, job_id: str) -> None:
    """Submit a job from a program of its own."""
    script = str(Path(__file__).with_name("publisher.py"))
    publisher = ServerProcess(
        [sys.executable, script, job_id],
        env={
            **stage.embedded.environment(),
            **stage.deployment.environment(),
            **collector.environment(),
            "QUEUE_AGENT_JOB_TOPIC_ARN": stage.deployment.job_topic,
        },
    )
    publisher.spawn()
    assert publisher.wait() == 0
