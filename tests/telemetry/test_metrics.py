"""What /metrics shows: as documented, counted right, and bounded whatever jobs say."""

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from harness import PATIENCE, Scene, until
from queue_agent.cloud import Backlog, Message
from queue_agent.cloud.refusals import REASONS
from queue_agent.telemetry.export import exporting
from queue_agent.telemetry.gpu import GpuClock
from queue_agent.telemetry.options import TelemetryOptions
from queue_agent.telemetry.refusals import CloudRefusals
from queue_agent.testing.process import ServerProcess
from queue_agent.wire.errors import Unavailable
from telemetry.collector import Collector
from telemetry.reference import Described, documented


def described(page: str) -> Described:
    """The same of a page of metrics."""
    found = {}
    for family in text_string_to_metric_families(page):
        if not family.name.startswith("queue_agent_"):
            continue
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, frozenset(labels), family.documentation)
    return found


async def everything(page_of: TelemetryOptions) -> str:
    """A page after each instrument was used once."""
    async with exporting(page_of, runtime="sd", task_types={"text-to-image"}) as exports:
        metrics = exports.telemetry.metrics
        metrics.observe_gpu(GpuClock().seconds)
        metrics.observe_in_flight(lambda: {"running": 1})
        metrics.observe_certificate(lambda: 86_400.0)
        metrics.received([Message("m", "{}", "r", 2, sent_at=0.0)], now=1.0)
        metrics.warmed_up(1.0)
        metrics.runtime_is("ready")
        metrics.clock_offset(0.5)
        metrics.backlog(Backlog(waiting=1, in_flight=2))
        metrics.is_paused(paused=True)
        metrics.step("run", 1.0, "text-to-image")
        metrics.released("timeout")
        metrics.cloud_refused("topic", "unauthorized")
        metrics.content_checked("withhold")
        metrics.answered("failed", "text-to-image", error_type="timeout", since_published=1.0)
        metrics.began("a", 1.0)
        assert exports.exposition is not None
        return exports.exposition("")[0].decode()


async def test_the_reference_lists_what_is_exported() -> None:
    assert described(await everything(TelemetryOptions(metrics="prometheus"))) == documented()


async def test_error_types_beyond_the_first_few_count_as_other() -> None:
    options = TelemetryOptions(metrics="prometheus")
    async with exporting(options, runtime="sd", task_types={"text-to-image"}) as exports:
        for number in range(200):
            exports.telemetry.metrics.released(f"type_{number}")
        assert exports.exposition is not None
        page = exports.exposition("")[0].decode()
    rows = [line for line in page.splitlines() if line.startswith("queue_agent_failed_attempts")]
    assert len(rows) == 65
    assert 'error_type="other",runtime="sd"} 136.0' in "\n".join(rows)


async def test_refusals_are_counted_by_service_and_reason_from_zero() -> None:
    async with exporting(TelemetryOptions(metrics="prometheus"), runtime="sd") as exports:
        refusals = CloudRefusals(exports.telemetry.metrics)
        for type_ in ("cloud_unauthorized", "cloud_unauthorized", "made_up", "made_up_too"):
            refusals("topic.publish", Unavailable("no", type=type_))
        refusals("topic.publish", None)
        assert exports.exposition is not None
        page = exports.exposition("")[0].decode()
    seen = {family.name: family for family in text_string_to_metric_families(page)}
    counted = "queue_agent_cloud_refusals_total"
    assert value(seen, counted, service="topic", reason="unauthorized") == 2
    assert value(seen, counted, service="topic", reason="unavailable") == 2
    assert value(seen, counted) == 4
    assert len(seen["queue_agent_cloud_refusals"].samples) == 3 * len(REASONS)


async def test_messages_that_come_together_are_counted_one_by_one() -> None:
    ages = (None, 10.0, 30.0)
    messages = [
        Message("m", "{}", "r", number, sent_at=None if age is None else 100 - age)
        for number, age in enumerate(ages, 1)
    ]
    async with exporting(TelemetryOptions(metrics="prometheus"), runtime="sd") as exports:
        metrics = exports.telemetry.metrics
        metrics.received(messages, now=100.0)
        assert exports.exposition is not None
        page = exports.exposition("")[0].decode()
        metrics.received([], now=100.0)
        empty = exports.exposition("")[0].decode()
    seen = {family.name: family for family in text_string_to_metric_families(page)}
    assert value(seen, "queue_agent_messages_total") == 3
    assert value(seen, "queue_agent_redeliveries_total") == 2
    assert value(seen, "queue_agent_queue_time_seconds_count") == 2
    assert value(seen, "queue_agent_queue_time_seconds_sum") == 40
    assert value(seen, "queue_agent_queue_age_seconds") == 30
    later = {family.name: family for family in text_string_to_metric_families(empty)}
    assert value(later, "queue_agent_queue_age_seconds") == 0
    assert value(later, "queue_agent_messages_total") == 3


async def metrics_of(agent: ServerProcess) -> dict[str, Metric]:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        answer = await client.get(f"{agent.url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(families: dict[str, Metric], sample: str, **labels: str) -> float:
    """The sum of a sample over all series with these labels."""
    return sum(
        found.value
        for family in families.values()
        for found in family.samples
        if found.name == sample and labels.items() <= found.labels.items()
    )


async def test_an_agent_counts_what_it_does(stage: Scene) -> None:
    agent = stage.start_agent()
    await stage.publish(stage.job("good"))
    refused = {"prompt": "x", "steps": 2, "sampler_name": "No such sampler"}
    await stage.publish(stage.job("bad", refused))
    await stage.publish(stage.job("strange", tasktype="no-such-type"))
    await stage.send("not a job at all")
    good = await stage.answer("good")
    await stage.answer("bad")
    await stage.answer("strange")
    await stage.emptied()

    async def all_counted() -> dict[str, Metric] | None:
        seen = await metrics_of(agent)
        return seen if value(seen, "queue_agent_jobs_total") == 4 else None

    seen = await until(all_counted, what="four jobs counted")
    assert seen is not None
    jobs = "queue_agent_jobs_total"
    runtime = stage.deployment.runtime_name
    assert value(seen, jobs, runtime=runtime) == 4
    assert value(seen, jobs, status="completed", task_type="text-to-image") == 1
    assert value(seen, jobs, status="failed", task_type="text-to-image") == 1
    assert value(seen, jobs, status="failed", task_type="other") == 2
    errors = "queue_agent_job_errors_total"
    for error_type in ("invalid_content", "unknown_task_type", "invalid_message"):
        assert value(seen, errors, error_type=error_type) == 1, error_type
    assert value(seen, "queue_agent_messages_total") == 4
    assert value(seen, "queue_agent_quarantines_total") == 1
    assert value(seen, "queue_agent_output_bytes_total") == good["images"][0]["bytes"]
    assert value(seen, "queue_agent_job_duration_seconds_count", status="completed") == 1
    for step in ("parse", "find", "prepare", "wait", "run", "store", "notify", "acknowledge"):
        count = value(seen, "queue_agent_step_duration_seconds_count", step=step)
        assert count >= 1, step
    assert value(seen, "queue_agent_runtime_ready") == 1
    assert value(seen, "queue_agent_gpu_busy_seconds_total") > 0
    assert value(seen, "queue_agent_jobs_in_flight") == 0
    assert value(seen, "queue_agent_message_hold_time_seconds_count") >= 1


async def test_jobs_cannot_make_up_labels(stage: Scene) -> None:
    agent = stage.start_agent()
    for number in range(3):
        await stage.publish(stage.job(f"job-{number}", tasktype=f"made-up-{number}"))
    for number in range(3):
        await stage.answer(f"job-{number}")
    await stage.emptied()
    page = "\n".join(
        str(sample.labels)
        for family in (await metrics_of(agent)).values()
        for sample in family.samples
    )
    assert "made-up" not in page


@pytest.mark.parametrize(
    ("settings", "status"),
    [({"QUEUE_AGENT_METRICS": "off"}, 404), ({"QUEUE_AGENT_METRICS": "both"}, 200)],
)
async def test_metrics_are_served_where_the_operator_wants_them(
    stage: Scene, collector: Collector, settings: dict[str, str], status: int
) -> None:
    agent = stage.start_agent(**collector.environment(traces="off"), **settings)
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        assert (await client.get(f"{agent.url}/metrics")).status_code == status


async def test_metrics_are_pushed_by_otlp_too(stage: Scene, collector: Collector) -> None:
    stage.start_agent(**collector.environment(traces="off"), QUEUE_AGENT_METRICS="otlp")
    wanted = {"queue_agent.jobs", "queue_agent.gpu.idle", "queue_agent.runtime.ready"}
    await collector.until(lambda: wanted <= collector.metrics or None, what="pushed metrics")
