"""Who does the jobs: the plain pipeline, a static batcher, the engine."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, Literal

import torch

from benchmarks.diffusers_serving.caching import halve_balanced
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.model import Model, Observer
from queue_agent_diffusers.engine.pool import ModelPool, Served
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.options import Options, Speed
from queue_agent_diffusers.torch.architectures import architecture_of
from queue_agent_diffusers.torch.loader import batched_model
from queue_agent_diffusers.torch.transformer import TransformerModel

SubjectName = Literal["plain", "static", "engine"]
SUBJECTS: Final[tuple[SubjectName, ...]] = ("plain", "static", "engine")

_numbers = itertools.count()
"""Of the engine's jobs, which need names."""


class Dropped(Exception):
    """The job had not begun when the load ended."""


@dataclass(frozen=True)
class ServingSubject:
    """One that takes jobs."""

    submit: Callable[[ImageRequest], "Future[Any]"]
    busy: Callable[[], float]
    """Seconds in which it has worked."""
    drop_waiting: Callable[[], None] = lambda: None
    """End jobs that have not begun by `Dropped`, where it has such."""


def new_model(
    pipeline: Any, max_batch: int, *, speed: Speed = "eager", backend: str = "inductor"
) -> Any:
    """What the engine steps: the pipeline as the runtime serves it, so many images a step.

    `backend` is torch.compile's. The network itself is changed, for all that use it.
    """
    options = Options(max_batch=max_batch, speed=speed)
    model: Any = batched_model(pipeline, architecture_of(pipeline), options, backend=backend)[0]
    if isinstance(model, TransformerModel):
        halve_balanced(model)
    return model


@contextmanager
def running(name: SubjectName, pipeline: Any, model: Model) -> Iterator[ServingSubject]:
    """The subject of that name, at work until the block ends; the model outlives it."""
    if name != "engine":
        batching = BatchingSubject(pipeline, 1 if name == "plain" else model.max_batch)
        try:
            yield ServingSubject(batching.submit, lambda: batching.busy, batching.drop_waiting)
        finally:
            batching.close()
        return
    watch = Stopwatch()
    engine = Engine(
        ModelPool({"model": Served(lambda: model)}), max_waiting=100_000, observer=watch
    )
    engine.start()
    while not engine.ready:
        time.sleep(0.001)
    try:
        yield ServingSubject(
            lambda request: engine.submit(str(next(_numbers)), request).result, lambda: watch.busy
        )
    finally:
        engine.close()


class BatchingSubject:
    """Does jobs one batch after another in its own thread; counts the seconds it works."""

    def __init__(self, pipeline: Any, max_batch: int) -> None:
        self._pipeline = pipeline
        pipeline.vae.enable_slicing()  # one after another, as the engine, or many would not fit
        self._max_batch = max_batch
        self._inbox: SimpleQueue[tuple[ImageRequest, Future[Any]] | None] = SimpleQueue()
        self._begun = False
        self._dropping = False
        self.busy = 0.0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, request: ImageRequest) -> "Future[Any]":
        """Do the job when its turn comes; the future ends with the picture."""
        done: Future[Any] = Future()
        self._inbox.put((request, done))
        return done

    def drop_waiting(self) -> None:
        """Begin no more jobs after the first: they end by `Dropped`."""
        self._dropping = True

    def close(self) -> None:
        """End once the jobs are done."""
        self._inbox.put(None)
        self._thread.join()

    def _work(self) -> None:
        waiting: list[tuple[ImageRequest, Future[Any]]] = []
        while True:
            try:
                entry = self._inbox.get(block=not waiting)
                if entry is None:
                    return
                waiting.append(entry)
            except Empty:
                steps = waiting[0][0].steps
                batch = [one for one in waiting if one[0].steps == steps][: self._max_batch]
                waiting = [one for one in waiting if one not in batch]
                self._do(batch)

    def _do(self, batch: Sequence[tuple[ImageRequest, "Future[Any]"]]) -> None:
        if self._dropping and self._begun:
            for _, done in batch:
                done.set_exception(Dropped())
            return
        batch = [one for one in batch if one[1].set_running_or_notify_cancel()]
        if not batch:
            return
        self._begun = True
        began = time.monotonic()
        try:
            images = self._images([request for request, _ in batch])
        except (RuntimeError, MemoryError) as error:  # as of too little memory
            for _, done in batch:
                done.set_exception(error)
            return
        self.busy += time.monotonic() - began
        for (_, done), image in zip(batch, images, strict=True):
            done.set_result(image)

    def _images(self, requests: Sequence[ImageRequest]) -> Sequence[Any]:
        first = requests[0]
        images: Sequence[Any] = self._pipeline(
            prompt=[request.prompt for request in requests],
            generator=[torch.Generator("cpu").manual_seed(request.seed) for request in requests],
            num_inference_steps=first.steps,
            guidance_scale=first.guidance_scale,
            width=first.width,
            height=first.height,
        ).images
        return images


class Stopwatch(Observer):
    """Counts the seconds that the engine steps."""

    def __init__(self) -> None:
        self.busy = 0.0

    def stepped(self, images: int, rows: int, seconds: float) -> None:
        """See `Observer`."""
        del images, rows
        self.busy += seconds
