"""Whether work survives its engine: jobs ended at random steps, and gone on with by another.

    python -m benchmarks.checkpoints                       100 jobs of eight tiny models
    python -m benchmarks.checkpoints --jobs 400 --seed 7

Each job is made three times: undisturbed; told to suspend at a random step, as a pod's end does,
and gone on with by another engine from what was handed out; and killed at a random step, gone on
with from what was kept at every `--every` steps. What is told: whether the pictures are those of
the undisturbed job, bit for bit, and how many of its steps a job took twice. Of transformers some
jobs are `balanced`, where every second step is computed, and some `fast`. With `--together`
jobs share their steps with others; those of some shapes then differ in the last bits from what
they are alone, with or without checkpoints.
"""

import argparse
import json
import random
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # their tiny transformers

from benchmarks.diffusers_serving.caching import halve_balanced
from queue_agent_diffusers.engine.checkpoint import read_head
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.jobs import EngineJob, Preview, Step
from queue_agent_diffusers.engine.model import Model
from queue_agent_diffusers.engine.pool import ModelPool, Served
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import RequestCancelled
from queue_agent_diffusers.options import Options
from queue_agent_diffusers.torch.architectures import architecture_of
from queue_agent_diffusers.torch.loader import load_model
from queue_agent_diffusers.torch.tiny import build_tiny_model
from queue_agent_diffusers.torch.transformer import TransformerModel
from tiny_transformers import BUILDERS, tiny_transformer

PATIENCE: Final = 600.0
UNETS: Final = ("Stable Diffusion 1.5", "Stable Diffusion XL")
FROM_TEXT: Final = [name for name in BUILDERS if name not in {"Flux Fill", "Flux Kontext"}]
"""The transformers that need no image to begin with."""
SAMPLERS: Final = ("DDIM", "Euler", "Euler a", "DPM++ 2M", "DPM++ 2M SDE", "UniPC", "Heun", "DDPM")
PROMPTS: Final = ("", "a lighthouse", "light on a river " * 8)


@dataclass
class Attempt:
    """One engine's part in a job."""

    pictures: list[bytes] | None = None
    steps: int = 0
    """Those that its first image had come to."""
    checkpoint: bytes | None = None
    kept_at: int = 0
    """The step of that."""


@dataclass
class Survival:
    """Of one job, disturbed in one way."""

    model: str
    levels: int
    """By how many of 255 levels its pictures differ at most from the undisturbed ones."""
    twice: int
    """Steps that were taken twice, for each of its images."""
    kept: int
    """Bytes of its checkpoint."""


@dataclass
class Ending:
    """Ends one job once it has come to a step; keeps what is done at every so many."""

    engine: Engine
    at: int
    every: int | None
    """None: it is suspended in good order."""
    attempt: Attempt = field(default_factory=Attempt)
    job: EngineJob | None = None
    _over: bool = False

    def listen(self, news: Step | Preview) -> None:
        """Take news, in the engine's thread, between two steps."""
        if not isinstance(news, Step) or self.job is None or self._over:
            return
        self.attempt.steps = news.step
        if news.step >= self.at:
            self._over = True
            if self.every is None:
                self._keep(news.step, stop=True)
            else:
                self.job.cancel()
        elif self.every and news.step // self.every > self.attempt.kept_at // self.every:
            self._keep(news.step, stop=False)

    def _keep(self, step: int, *, stop: bool) -> None:
        if self.job is None:
            return
        self.attempt.kept_at = step
        made = self.engine.checkpoint(self.job.id, stop=stop)
        made.add_done_callback(lambda done: setattr(self.attempt, "checkpoint", done.result()))


def requests(model: str, number: int, chance: random.Random) -> list[ImageRequest]:
    """So many different jobs of a model."""
    return [
        ImageRequest(
            chance.choice(PROMPTS),
            seed=chance.randrange(2**32),
            count=chance.randint(1, 3),
            steps=chance.randint(2, 12),
            width=64,
            height=64,
            negative_prompt=chance.choice((None, "forest")),
            guidance_scale=chance.choice((None, 1.0, 4.0)),
            scheduler=chance.choice(SAMPLERS) if model in UNETS else None,
            quality=None if model in UNETS else chance.choice((None, "balanced", "fast")),
        )
        for _ in range(number)
    ]


def made(
    model: Model,
    jobs: Sequence[ImageRequest],
    together: int,
    *,
    ends: Sequence[int | None] = (),
    every: int | None = None,
    checkpoints: Sequence[bytes | None] = (),
) -> list[Attempt]:
    """What an engine of its own makes of the jobs, ended at these steps, begun from these."""
    limit = threading.BoundedSemaphore(together)
    attempts = []
    with _engine(model) as engine:
        for number, request in enumerate(jobs):
            limit.acquire(timeout=PATIENCE)
            at = ends[number] if ends else None
            ending = Ending(engine, sys.maxsize if at is None else at, every)
            ready = threading.Event()

            def listen(
                news: Step | Preview, ending: Ending = ending, ready: threading.Event = ready
            ) -> None:
                ready.wait(PATIENCE)
                ending.listen(news)

            given = checkpoints[number] if checkpoints else None
            ending.job = engine.submit(f"job-{number}", request, listen, checkpoint=given)
            ready.set()
            ending.job.result.add_done_callback(lambda _: limit.release())
            attempts.append(ending)
        for ending in attempts:
            if ending.job is not None:
                _finish(ending.job, ending.attempt)
    return [ending.attempt for ending in attempts]


def disturbed(
    name: str,
    model: Model,
    jobs: Sequence[ImageRequest],
    together: int,
    chance: random.Random,
    every: int | None,
) -> list[Survival]:
    """How it went with jobs that were ended at random steps; `every`: by a kill."""
    plain = made(model, jobs, together)
    ends = [chance.randint(1, attempt.steps) for attempt in plain]
    first = made(model, jobs, together, ends=ends, every=every)
    second = made(model, jobs, together, checkpoints=[attempt.checkpoint for attempt in first])
    outcomes = []
    for before, after, whole in zip(first, second, plain, strict=True):
        ended = before.pictures is None
        kept = before.kept_at if before.checkpoint else 0
        outcomes.append(
            Survival(
                name,
                levels=difference(after.pictures, whole.pictures),
                twice=before.steps - kept + made_again(before.checkpoint) if ended else 0,
                kept=len(before.checkpoint or b""),
            )
        )
    return outcomes


def made_again(checkpoint: bytes | None) -> int:
    """Steps of each image that are taken again though they are kept, for what caches keep."""
    if checkpoint is None:
        return 0
    images = json.loads(read_head(checkpoint).passes)
    return max((1 for passes in images if passes), default=0)


def difference(some: Sequence[bytes] | None, others: Sequence[bytes] | None) -> int:
    """By how many levels pictures differ at most; 255 where one of them is missing."""
    if some is None or others is None or len(some) != len(others):
        return 255
    pairs = (zip(one, other, strict=True) for one, other in zip(some, others, strict=True))
    return max(abs(one - other) for pair in pairs for one, other in pair)


def models(folder: Path) -> Mapping[str, Model]:
    """All that are tried, with random weights."""
    found: dict[str, Model] = {}
    for name in UNETS:
        build_tiny_model(folder / name, xl=name.endswith("XL"))
        found[name] = load_model(str(folder / name), Options(device="cpu", max_batch=8))
    for name in FROM_TEXT:
        pipeline: Any = tiny_transformer(name)
        architecture = architecture_of(pipeline)
        if architecture is not None:
            found[name] = TransformerModel(pipeline, architecture, max_batch=8)
            halve_balanced(found[name])  # of random weights, all steps would be computed
    return found


@contextmanager
def _engine(model: Model) -> Iterator[Engine]:
    loaded = threading.Event()
    engine = Engine(ModelPool({"model": Served(lambda: model)}), max_waiting=10**6)
    engine.start()
    while not engine.ready:
        loaded.wait(0.01)
    try:
        yield engine
    finally:
        engine.close()


def _finish(job: EngineJob, attempt: Attempt) -> None:
    try:
        pictures = job.result.result(PATIENCE)
    except RequestCancelled:
        return
    attempt.pictures = [picture.tobytes() for picture in pictures.images]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoints")
    parser.add_argument("--jobs", type=int, default=100, help="of all models together")
    parser.add_argument("--every", type=int, default=3, help="steps between two kept, for kills")
    parser.add_argument("--together", type=int, default=1, help="jobs that share steps")
    parser.add_argument("--only", help="one of the models")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311  no secret
    table = Table(
        "model",
        "jobs",
        "ended by",
        "equal",
        "levels off",
        "twice (most)",
        "twice (mean)",
        "KiB kept",
    )
    with TemporaryDirectory() as folder:
        served = models(Path(folder))
        share = -(-options.jobs // len(served))
        for name, model in served.items():
            if options.only not in {None, name}:
                continue
            jobs = requests(name, share, chance)
            for every in (None, options.every):
                seen = disturbed(name, model, jobs, options.together, chance, every)
                table.add_row(
                    name,
                    str(len(seen)),
                    "a signal" if every is None else f"a kill, kept every {every}",
                    str(sum(one.levels == 0 for one in seen)),
                    str(max(one.levels for one in seen)),
                    str(max(one.twice for one in seen)),
                    f"{sum(one.twice for one in seen) / len(seen):.2f}",
                    f"{median(one.kept for one in seen) / 1024:.0f}",
                )
    Console().print(table)


if __name__ == "__main__":
    main()
