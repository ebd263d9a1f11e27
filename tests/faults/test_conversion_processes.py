"""Processes that convert: bounded in time and memory, and replaced when they are lost."""

import asyncio
import os
import signal
import time

import pytest

from output_samples import gradient, opened, planted_png
from queue_agent.outputs import (
    Conversion,
    ConversionPolicy,
    Order,
    OutputStage,
    WorkerLost,
    WorkerProcesses,
)
from queue_agent.runtime import Artifact
from queue_agent.wire.job import parse_job

MEMORY = 256 * 2**20
BODY = """{"metadata": {"id": "a", "tasktype": "text-to-image",
  "output": {"format": "webp", "thumbnail": true}}, "content": {}}"""


def identity() -> int:
    return os.getpid()


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stuck() -> None:
    time.sleep(3600)


def greedy() -> int:
    return len(bytearray(2 * MEMORY))


def refusing() -> None:
    raise ValueError("no")


async def test_a_process_is_kept_replaced_when_killed_and_stopped_when_stuck() -> None:
    workers = WorkerProcesses(1, time_limit=60, memory=MEMORY)
    first = await workers.do(identity)
    assert first != os.getpid()
    assert await workers.do(identity) == first
    with pytest.raises(WorkerLost, match="memory"):
        await workers.do(greedy)
    with pytest.raises(ValueError, match="no"):
        await workers.do(refusing)
    assert await workers.do(identity) == first
    with pytest.raises(WorkerLost, match="ended the process"):
        await workers.do(killed)
    second = await workers.do(identity)
    assert second != first
    with pytest.raises(WorkerLost, match=r"0\.2 s"):
        await WorkerProcesses(1, time_limit=0.2, memory=MEMORY).do(stuck)


async def test_a_job_is_converted_in_a_process_and_its_cancellation_ends_that() -> None:
    workers = WorkerProcesses(1, time_limit=60, memory=MEMORY)
    stage = OutputStage((Conversion(ConversionPolicy(), workers),))
    job = parse_job(BODY)
    picture = gradient("RGB", (900, 700)).effect_spread(40)
    order = Order(job)
    (product,) = await stage.products(order, (Artifact(planted_png(picture), "image/png"),))
    with order.files:
        assert product.artifact.media_type == "image/webp"
        assert opened(product.artifact.data).size == (900, 700)
        assert opened(product.variants[1].asset.data).size == (512, 398)
    task = asyncio.create_task(workers.do(stuck))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await workers.do(identity)
