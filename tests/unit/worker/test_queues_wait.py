"""How long jobs wait by queue and rule while more comes than can be done: docs/scheduling.md."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from statistics import median

import pytest

from queue_agent.tasks import background
from queue_agent.worker.queue_order import QueueOrder, Reserved, Weighted, strict
from several_queues import NAMES, Several

pytestmark = pytest.mark.looptime

HOUR = 3600.0
EVERY: Mapping[str, float] = {"high": 30, "normal": 15, "low": 15}
"""Seconds between two jobs of a queue: ten a minute in all, and six can be done."""


async def waits(order: QueueOrder | None) -> dict[str, tuple[int, float]]:
    """By queue: how many jobs were begun within an hour, and their median wait in seconds."""
    several = Several(order=order)

    async def publish(name: str) -> None:
        number = 0
        while True:
            several.put("normal" if order is None else name, f"{name}-{number}")
            number += 1
            await asyncio.sleep(EVERY[name])

    async with several.bench.working(), AsyncExitStack() as publishers:
        for name in NAMES:
            await publishers.enter_async_context(background(publish(name)))
        await several.bench.pass_time(HOUR)
        told = several.bench.told()
    found = {}
    for name in NAMES:
        queued = [it.timings.queued + it.timings.wait for it in told if it.id.startswith(name)]
        found[name] = (len(queued), median(queued))
    return found


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (None, {"high": (72, 730), "normal": (143, 725), "low": (144, 717)}),
        (strict(NAMES), {"high": (120, 10), "normal": (221, 140), "low": (18, 1572)}),
        (
            Weighted(NAMES, {"high": 6, "normal": 3, "low": 1}),
            {"high": (120, 10), "normal": (179, 450), "low": (60, 1347)},
        ),
        (
            Reserved(NAMES, {"normal": 20, "low": 20}),
            {"high": (120, 10), "normal": (167, 545), "low": (72, 1242)},
        ),
    ],
)
async def test_waits_by_queue_are_as_documented(
    order: QueueOrder | None, expected: Mapping[str, tuple[int, float]]
) -> None:
    found = await waits(order)
    for name, (count, wait) in expected.items():
        assert found[name][0] == pytest.approx(count, abs=3)
        assert found[name][1] == pytest.approx(wait, rel=0.05, abs=5)
