"""Whether the bundled runtime's memory grows with the jobs that it has done.

    python -m benchmarks.diffusers_memory                  1,000 jobs of mixed sizes, tiny model
    python -m benchmarks.diffusers_memory --jobs 5000

Jobs of random sizes, step counts and counts, with and without guidance and images to start from,
go through the bundled runtime's engine, a few at a time; some are cancelled. After every tenth of
them, when none runs, it is read what the process holds: resident memory as the kernel counts it,
and the bytes of pixels that live images have. The first tenths fill caches and the
allocator's pools, so growth is that of the second half.
"""

import argparse
import contextlib
import gc
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch
from PIL import Image

from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.jobs import EngineJob
from queue_agent_diffusers.engine.pool import ModelPool, Served
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import RequestCancelled
from queue_agent_diffusers.options import Options
from queue_agent_diffusers.torch.loader import load_model
from queue_agent_diffusers.torch.tiny import build_tiny_model

TENTHS: Final = 10
MIB: Final = 2**20
SIDES: Final = (64, 96, 128, 192, 256)
AT_A_TIME: Final = 8
CANCELLED: Final = 0.05
"""Share of the jobs that are cancelled once they are submitted."""


@dataclass(frozen=True)
class Reading:
    """What the process holds after so many jobs."""

    jobs: int
    resident: float
    """MiB, as the kernel counts it."""
    pixels: float
    """MiB of live images."""
    objects: int
    """That Python's garbage collector tracks."""

    @classmethod
    def now(cls, jobs: int) -> "Reading":
        """Read it, after a collection."""
        gc.collect()
        alive = gc.get_objects()
        images = (one for one in alive if issubclass(type(one), Image.Image))
        pixels = sum(len(one.getbands()) * one.width * one.height for one in images)
        return cls(jobs, _resident(), pixels / MIB, len(alive))


def readings(jobs: int, seed: int) -> list[Reading]:
    """Do so many jobs, and read ten times on the way."""
    with TemporaryDirectory() as folder:
        build_tiny_model(Path(folder))
        model = load_model(folder, Options(device="cpu"))
    engine = Engine(ModelPool({"tiny": Served(lambda: model)}))
    engine.start()
    while not engine.ready:
        time.sleep(0.01)
    chance = random.Random(seed)  # noqa: S311  no secret
    requests, done = _requests(chance), 0
    found: list[Reading] = []
    try:
        while done < jobs:
            upto = jobs * (len(found) + 1) // TENTHS
            while done < upto:
                some = list(islice(requests, min(AT_A_TIME, upto - done)))
                _do(engine, some, done, chance)
                done += len(some)
            found.append(Reading.now(done))
    finally:
        engine.close()
    return found


def growth(found: Sequence[Reading]) -> float:
    """MiB of resident memory for 1,000 jobs, over the second half: the slope of a straight line."""
    half = found[len(found) // 2 - 1 :]
    jobs = [reading.jobs for reading in half]
    mean_jobs = sum(jobs) / len(jobs)
    mean = sum(reading.resident for reading in half) / len(half)
    spread = sum((count - mean_jobs) ** 2 for count in jobs)
    together = sum((one.jobs - mean_jobs) * (one.resident - mean) for one in half)
    return 1000 * together / spread


def _do(
    engine: Engine, requests: Sequence[ImageRequest], number: int, chance: random.Random
) -> None:
    submitted: list[EngineJob] = []
    for place, request in enumerate(requests):
        submitted.append(engine.submit(f"job-{number + place}", request))
        if chance.random() < CANCELLED:
            submitted[-1].cancel()
    for job in submitted:
        with contextlib.suppress(RequestCancelled):
            job.result.result(timeout=600)


def _requests(chance: random.Random) -> Iterator[ImageRequest]:
    while True:
        width, height = chance.choice(SIDES), chance.choice(SIDES)
        edit = chance.random() < 0.2
        yield ImageRequest(
            f"a lighthouse, number {chance.randrange(10**6)}",
            seed=chance.randrange(2**32),
            count=chance.choice((1, 1, 1, 2)),
            width=width,
            height=height,
            steps=chance.choice((2, 3, 4)),
            guidance_scale=chance.choice((1.0, 7.5)),
            image=Image.new("RGB", (width, height), "teal") if edit else None,
            strength=0.8 if edit else None,
        )


def _resident() -> float:
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Do the jobs, print what was read as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diffusers_memory")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = readings(arguments.jobs, arguments.seed)
    lines = ["| jobs | resident MiB | pixels of live images, MiB | objects |"]
    lines += ["|---:|---:|---:|---:|"]
    lines += [
        f"| {one.jobs:,} | {one.resident:.1f} | {one.pixels:.1f} | {one.objects:,} |"
        for one in found
    ]
    lines += ["", f"Growth of the second half: {growth(found):+.1f} MiB for 1,000 jobs."]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
