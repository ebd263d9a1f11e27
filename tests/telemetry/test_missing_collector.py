"""A collector that is not there, or hangs, holds up no job and no shutdown."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness import Scene
from queue_agent.testing.process import HOST, free_port


@contextmanager
def listener_that_never_answers() -> Iterator[int]:
    """A port that accepts connections, and nothing more."""
    with socket.create_server((HOST, 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
async def test_jobs_are_done_and_the_agent_ends_without_a_collector(
    stage: Scene, protocol: str, hangs: bool
) -> None:
    with listener_that_never_answers() as silent:
        port = silent if hangs else free_port()
        agent = stage.start_agent(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{HOST}:{port}",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_TIMEOUT="600",
            OTEL_BSP_SCHEDULE_DELAY="20",
            QUEUE_AGENT_METRICS="both",
            OTEL_METRIC_EXPORT_INTERVAL="100",
        )
        for number in range(3):
            await stage.publish(stage.job(f"alone-{number}"))
        for number in range(3):
            assert (await stage.answer(f"alone-{number}"))["status"] == "completed"
        await stage.emptied()
        agent.send_signal(signal.SIGTERM)
        assert agent.wait() == 0


async def test_more_spans_than_fit_are_dropped_and_jobs_are_done(stage: Scene) -> None:
    with listener_that_never_answers() as silent:
        agent = stage.start_agent(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{HOST}:{silent}",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_BSP_MAX_QUEUE_SIZE="4",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4",
        )
        for number in range(3):
            await stage.publish(stage.job(f"many-{number}"))
        for number in range(3):
            assert (await stage.answer(f"many-{number}"))["status"] == "completed"
        assert agent.log is not None
        assert "Queue full, dropping Span" in agent.log.read_text()
