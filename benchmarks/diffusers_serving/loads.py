"""What the subjects are put under: clients who wait, or jobs that come at random moments."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field

from benchmarks.diffusers_serving.subjects import Dropped, ServingSubject
from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.requests import ImageRequest

Latencies = list[tuple[int, float]]
"""Steps of each job, and the seconds from its submission to its picture."""
Load = Callable[[ServingSubject, int], Coroutine[None, None, Latencies]]
"""Puts a subject under load; the number chooses the jobs."""


@dataclass(frozen=True)
class Jobs:
    """What jobs ask for."""

    steps: tuple[int, ...]
    """One of them at random."""
    side: int
    """Pixels."""
    guidance_scale: float
    quality: Quality | None = None

    def requests(self, seed: int) -> Iterator[ImageRequest]:
        """Without end; the same for the same seed."""
        chance = random.Random(seed)  # noqa: S311  no secret
        while True:
            yield ImageRequest(
                f"a lighthouse, number {chance.randint(1, 20)}",
                seed=chance.randrange(2**32),
                width=self.side,
                height=self.side,
                steps=chance.choice(self.steps),
                guidance_scale=self.guidance_scale,
                quality=self.quality,
            )


@dataclass
class LoadOutcome:
    """What a subject did under a load."""

    latencies: Latencies = field(default_factory=list)
    seconds: float = 0.0
    busy: float = 0.0
    """Seconds in which the subject worked."""


def measure(subject: ServingSubject, load: Load, number: int) -> LoadOutcome:
    """Put the subject under the load, to its end."""
    before, began = subject.busy(), time.monotonic()
    latencies = asyncio.run(load(subject, number))
    return LoadOutcome(latencies, time.monotonic() - began, subject.busy() - before)


async def closed(
    subject: ServingSubject,
    number: int,
    *,
    jobs: Jobs,
    clients: int,
    seconds: float,
    drop: bool = False,
) -> Latencies:
    """So many clients, each with one job at a time, until the time is over.

    With `drop` jobs that have not begun by then are not waited for.
    """
    end = time.monotonic() + seconds
    requests = jobs.requests(seed=number)
    done: Latencies = []

    async def client() -> None:
        while time.monotonic() < end:
            try:
                done.append(await _timed(subject, next(requests)))
            except Dropped:
                return

    async with asyncio.TaskGroup() as group:
        clients_at_work = [group.create_task(client()) for _ in range(clients)]
        if drop:
            await asyncio.wait(clients_at_work, timeout=seconds)
            subject.drop_waiting()
    return done


async def arriving(
    subject: ServingSubject, number: int, *, jobs: Jobs, rate: float, seconds: float
) -> Latencies:
    """Jobs that come at random moments, so many per second, whoever waits."""
    chance = random.Random(number)  # noqa: S311  no secret
    requests = jobs.requests(seed=number)
    end = time.monotonic() + seconds
    tasks: list[asyncio.Task[tuple[int, float]]] = []
    async with asyncio.TaskGroup() as group:
        while time.monotonic() < end:
            tasks.append(group.create_task(_timed(subject, next(requests))))
            await asyncio.sleep(chance.expovariate(rate))
    return [task.result() for task in tasks]


async def _timed(subject: ServingSubject, request: ImageRequest) -> tuple[int, float]:
    began = time.monotonic()
    await asyncio.wrap_future(subject.submit(request))
    return request.steps or 0, time.monotonic() - began
