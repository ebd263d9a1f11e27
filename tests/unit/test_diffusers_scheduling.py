"""Who shares steps with whom: the engine around models whose steps a test lets through."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent import futures
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusers_servers import SteppingModel, SteppingSample
from queue_agent.testing import eventually
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.fitting import FORGET_AFTER, Fitting, Need
from queue_agent_diffusers.engine.jobs import EngineJob, Preview, Step
from queue_agent_diffusers.engine.model import Model, OnStep
from queue_agent_diffusers.engine.pool import ModelPool, Served
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.errors import (
    GenerationFailed,
    ModelBusy,
    ModelNotFound,
    ModelUnavailable,
    OutOfMemory,
    RequestCancelled,
)


@asynccontextmanager
async def working(
    *models: SteppingModel, budget: int | None = None, switch_after: float = 0.05
) -> AsyncIterator[Engine]:
    """An engine that serves these models under the names ``model-0``, ``model-1`` …"""
    served = {
        f"model-{number}": Served(lambda model=model: model, lambda: 100)  # type: ignore[misc]
        for number, model in enumerate(models)
    }
    pool = ModelPool(served, budget=lambda: budget)
    engine = Engine(pool, max_waiting=1000, switch_after=switch_after)
    engine.start()
    try:
        await eventually(lambda: engine.ready)
        yield engine
    finally:
        for model in models:
            model.open = True
            model.gate.release(1000)
            model.may_finish.set()
        await asyncio.to_thread(engine.close)


def wanted(prompt: str, *, steps: int = 4, width: int = 64, count: int = 1) -> ImageRequest:
    return ImageRequest(prompt, seed=1, steps=steps, width=width, height=64, count=count)


async def pictures_of(job: EngineJob) -> Pictures:
    async with asyncio.timeout(90):
        return await asyncio.wrap_future(job.result)


async def steps_taken(model: SteppingModel, count: int) -> None:
    """Let so many more steps be tried and wait until they are."""
    goal = model.attempts + count
    model.gate.release(count)
    await eventually(lambda: model.attempts >= goal)


async def test_jobs_of_different_lengths_join_and_leave_between_steps() -> None:
    model = SteppingModel()
    model.open = False
    async with working(model) as engine:
        long = engine.submit("long", wanted("long", steps=6))
        await steps_taken(model, 2)
        short = engine.submit("short", wanted("short", steps=2))
        model.gate.release(4)
        await pictures_of(long)
        await pictures_of(short)
    assert [batch.count("long") for batch in model.batches] == [1] * 6
    assert sum("short" in batch for batch in model.batches) == 2
    assert ["long", "short"] in model.batches


async def test_a_cancelled_job_leaves_at_the_next_step() -> None:
    model = SteppingModel()
    model.open = False
    async with working(model) as engine:
        kept = engine.submit("kept", wanted("kept", steps=8))
        gone = engine.submit("gone", wanted("gone", steps=8))
        await steps_taken(model, 3)
        gone.cancel()
        model.gate.release(8)
        await pictures_of(kept)
        with pytest.raises(RequestCancelled):
            await pictures_of(gone)
    assert gone.state == "cancelled"
    with_gone = [number for number, batch in enumerate(model.batches) if "gone" in batch]
    assert max(with_gone) <= 3, "at most the step that was under way"


async def test_no_size_starves_while_another_is_always_wanted() -> None:
    model = SteppingModel()
    model.open = False
    async with working(model) as engine:
        busy = [engine.submit(f"{n}", wanted("busy", steps=500)) for n in range(40)]
        rare = engine.submit("rare", wanted("rare", steps=4, width=128))
        model.open = True
        model.gate.release(1)
        await pictures_of(rare)
        assert not all(job.ended for job in busy)
    before = next(n for n, batch in enumerate(model.batches) if "rare" in batch)
    assert before <= 2 * model.turn, "one turn of the other size, and what was under way"


async def test_of_200_random_jobs_none_is_lost() -> None:
    chance = random.Random(7)  # noqa: S311  no secret
    model, other = SteppingModel(max_batch=5, fits=3), SteppingModel()
    async with working(model, other) as engine:
        jobs = []
        for number in range(200):
            request = ImageRequest(
                chance.choice(["a", "b", "breaks at its second step"]),
                seed=number,
                model=chance.choice([None, "model-1"]),
                steps=chance.randint(1, 9),
                width=chance.choice([64, 128, 256]),
                count=chance.randint(1, 3),
            )
            jobs.append(engine.submit(str(number), request))
            if chance.random() < 0.2:
                chance.choice(jobs).cancel()
            await asyncio.sleep(0)
        await asyncio.to_thread(futures.wait, [job.result for job in jobs], 60)
        assert {job.state for job in jobs} == {"completed", "cancelled", "failed"}
        for job in jobs:
            if job.state == "completed":
                colours = [image.getpixel((0, 0)) for image in (await pictures_of(job)).images]
                assert colours == [(seed % 256, 0, 0) for seed in job.request.seeds]
            elif job.state == "failed":
                assert job.request.prompt == "breaks at its second step"
                assert isinstance(job.result.exception(), GenerationFailed)
        assert engine.active_jobs() == []


@settings(max_examples=25)
@given(st.integers(1, 6), st.lists(st.integers(1, 4), min_size=1, max_size=8))
async def test_memory_that_is_short_halves_the_batch_and_loses_nobody(
    fits: int, counts: list[int]
) -> None:
    model = SteppingModel(max_batch=8, fits=fits)
    async with working(model) as engine:
        jobs = [
            engine.submit(str(number), wanted("x", count=count))
            for number, count in enumerate(counts)
        ]
        for job, count in zip(jobs, counts, strict=True):
            assert len((await pictures_of(job)).images) == count
    assert max(map(len, model.batches)) <= fits


async def test_a_job_that_does_not_even_fit_alone_is_refused_and_the_others_go_on() -> None:
    model = SteppingModel()
    model.open = False
    async with working(model) as engine:
        jobs = [engine.submit(name, wanted(name)) for name in ("one", "huge", "two")]
        model.open = True
        model.gate.release(1)
        await pictures_of(jobs[0])
        await pictures_of(jobs[2])
        with pytest.raises(OutOfMemory):
            await pictures_of(jobs[1])


class CrowdedModel(SteppingModel):
    """Has no memory to begin or step anything while pictures are made."""

    def __init__(self, *, to_begin: bool) -> None:
        super().__init__()
        self._to_begin = to_begin

    def begin(self, request: ImageRequest, on_step: OnStep) -> Sequence[SteppingSample]:
        samples = super().begin(request, on_step)
        for sample in samples:
            sample.start = partial(self._start, sample.start)  # type: ignore[method-assign]
        return samples

    def predict(self, samples: Sequence[SteppingSample]) -> Sequence[Callable[[], None]]:
        self._make_sure_of_room(to_begin=False)
        return super().predict(samples)

    def _start(self, start: Callable[[], None]) -> None:
        self._make_sure_of_room(to_begin=True)
        start()

    def _make_sure_of_room(self, *, to_begin: bool) -> None:
        if to_begin is self._to_begin and self.batches and not self.may_finish.is_set():
            self.attempts += 1
            raise OutOfMemory("a picture takes it all")


@pytest.mark.parametrize("to_begin", [True, False])
async def test_a_job_for_which_there_is_room_once_a_picture_is_made_is_not_refused(
    *, to_begin: bool
) -> None:
    model = CrowdedModel(to_begin=to_begin)
    model.may_finish.clear()
    async with working(model) as engine:
        first = engine.submit("first", wanted("x", steps=1))
        await eventually(lambda: model.batches == [["x"]])
        second = engine.submit("second", wanted("y", steps=1))
        await eventually(lambda: model.attempts == 2)
        model.may_finish.set()
        for job in (first, second):
            await pictures_of(job)
    assert model.batches == [["x"], ["y"]]


async def test_what_did_not_fit_alone_is_refused_before_it_runs_but_nothing_smaller() -> None:
    model = SteppingModel(fits=1)
    async with working(model) as engine:

        async def outcome(name: str, prompt: str, side: int, **fields: Any) -> str:
            request = ImageRequest(prompt, seed=1, steps=2, width=side, height=side, **fields)
            try:
                await pictures_of(engine.submit(name, request))
            except OutOfMemory as error:
                return "refused" if "not begun" in str(error) else "failed"
            return "fits"

        assert await outcome("1", "x", 512) == "fits"
        assert await outcome("2", "huge", 1024) == "failed"
        attempts = model.attempts
        assert await outcome("3", "x", 1024) == "refused"
        assert await outcome("4", "x", 2048) == "refused"
        assert model.attempts == attempts
        assert await outcome("5", "x", 768) == "fits"
        assert await outcome("6", "x", 1024, image=Image.new("L", (1, 1))) == "fits", "another kind"
        small, large = ({"references": (Image.new("L", (side, side)),)} for side in (8, 16))
        assert await outcome("9", "huge", 1024, **large) == "failed"
        assert await outcome("10", "x", 1024, **large) == "refused"
        assert await outcome("11", "x", 1024, **small) == "fits", "looks at less"
        assert await outcome("7", "huge", 512) == "failed"
        assert await outcome("8", "x", 512) == "fits", "as it did before"


def test_what_did_not_fit_is_tried_again_later_or_beside_fewer_models() -> None:
    now = 0.0
    fitting = Fitting(lambda: now)
    small, large = (Need("m", (False, False, ()), 2, pixels) for pixels in (100, 400))
    wide = Need("m", (False, False, ()), 1, 900)
    both, alone = frozenset("mn"), frozenset("m")
    fitting.failed(large, both)
    assert fitting.refuses(large, both)
    assert not fitting.refuses(large, alone)
    assert not fitting.refuses(small, both)
    assert not fitting.refuses(wide, both), "fewer rows"
    now = FORGET_AFTER
    assert not fitting.refuses(large, both)
    fitting.failed(small, alone)
    fitting.fitted(large)
    fitting.failed(large, alone)
    assert not fitting.refuses(large, alone)


async def test_a_batch_grows_again_after_it_was_halved() -> None:
    model = SteppingModel(max_batch=4, fits=2)
    model.open = False
    async with working(model) as engine:
        jobs = [engine.submit(str(n), wanted("x", steps=120)) for n in range(4)]
        await steps_taken(model, 3)
        assert max(map(len, model.batches)) <= 2
        model.fits, model.open = 4, True
        model.gate.release(1)
        for job in jobs:
            await pictures_of(job)
    assert max(map(len, model.batches)) == 4


async def test_who_follows_a_job_sees_steps_and_previews() -> None:
    seen: list[Step | Preview] = []
    async with working(SteppingModel()) as engine:
        request = ImageRequest("x", seed=1, steps=9, previews=2)
        await pictures_of(engine.submit("followed", request, seen.append))
    assert [news.step for news in seen if isinstance(news, Step)] == list(range(1, 10))
    assert [news.number for news in seen if isinstance(news, Preview)] == [0, 1]


async def test_a_job_keeps_a_look_at_its_first_image_while_it_runs_if_it_asks_for_that() -> None:
    model = SteppingModel()
    model.open = False
    async with working(model) as engine:
        request = ImageRequest("x", seed=1, count=2, steps=9, preview_interval=0.001)
        watched = engine.submit("watched", request)
        silent = engine.submit("silent", wanted("y", steps=9))
        await steps_taken(model, 3)
        await eventually(lambda: watched.previews)
        assert watched.preview is not None
        model.open = True
        model.gate.release(1)
        await pictures_of(watched)
        await pictures_of(silent)
    assert watched.preview is None, "it has ended"
    assert silent.previews == 0
    assert 1 <= watched.previews < 9, "of the first image alone, and none of a finished one"


async def test_looks_come_no_oftener_than_asked_for() -> None:
    async with working(SteppingModel()) as engine:
        request = ImageRequest("x", seed=1, steps=50, preview_interval=3600.0)
        job = engine.submit("watched", request)
        await pictures_of(job)
    assert job.previews == 1


async def test_a_model_is_loaded_when_it_is_asked_for_while_another_works() -> None:
    first, second = SteppingModel(), SteppingModel()
    first.open = False
    async with working(first, second) as engine:
        job = engine.submit("first", wanted("x", steps=10_000))
        other = engine.submit("other", ImageRequest("y", seed=1, steps=2, model="model-1"))
        while engine.pool.state("model-1") != "loaded":  # noted between two steps
            await steps_taken(first, 1)
        assert job.state == "running"
        first.open = True
        first.gate.release(1)
        await pictures_of(other)
        await pictures_of(job)
        assert second.batches == [["y"], ["y"]]


@pytest.mark.parametrize(
    "switch_after", [0.05, 0.0], ids=["loading soon", "loading for longer than others wait"]
)
async def test_models_that_do_not_fit_together_take_turns(switch_after: float) -> None:
    models = [SteppingModel(), SteppingModel()]
    async with working(*models, budget=150, switch_after=switch_after) as engine:
        jobs = [
            engine.submit(
                str(n), ImageRequest("x", seed=1, steps=300, model=f"model-{n % 2}", width=64)
            )
            for n in range(12)
        ]
        for job in jobs:
            await pictures_of(job)
        states = [engine.pool.state(name) for name in engine.pool.names]
        assert sorted(states) == ["loaded", "unloaded"]
    assert any(model.closed for model in models)


async def test_a_model_can_be_unloaded_unless_it_works() -> None:
    model = SteppingModel()
    model.open = False
    async with working(model) as engine:
        job = engine.submit("job", wanted("x"))
        await eventually(lambda: job.state == "running")
        busy = engine.unload("model-0")
        model.open = True
        model.gate.release(1)
        with pytest.raises(ModelBusy):
            await asyncio.wrap_future(busy)
        await pictures_of(job)
        await eventually(lambda: unloaded(engine))
        assert model.closed


async def test_a_model_that_nobody_asks_for_is_let_go_and_loaded_again_when_wanted() -> None:
    models: list[SteppingModel] = []

    def load() -> Model:
        models.append(SteppingModel())
        return models[-1]

    engine = Engine(ModelPool({"one": Served(load)}), idle_unload=0.05)
    engine.start()
    try:
        await eventually(lambda: bool(models) and models[0].closed)
        assert (engine.pool.state("one"), engine.ready, engine.max_batch) == ("unloaded", True, 4)
        job = engine.submit("1", ImageRequest("x", seed=1, steps=3))
        await asyncio.wrap_future(job.result)
        await eventually(lambda: models[-1].closed)
        assert models[-1] is not models[0]
    finally:
        engine.close()


async def test_a_model_at_work_is_not_idle_however_long_it_takes() -> None:
    model = SteppingModel()
    pool = ModelPool({"one": Served(lambda: model)})
    pool.load("one")
    await eventually(pool.settle)
    assert pool.unload_idle(0, lambda _: True) == 0
    assert pool.unload_idle(60, lambda _: False) is not None
    assert not model.closed
    assert pool.unload_idle(0, lambda _: False) is None
    assert model.closed


async def test_a_model_whose_pictures_are_being_made_is_not_unloaded() -> None:
    model = SteppingModel()
    model.may_finish.clear()
    async with working(model) as engine:
        job = engine.submit("job", wanted("x", steps=2))
        await eventually(lambda: len(model.batches) == 2)
        with pytest.raises(ModelBusy):
            await asyncio.wrap_future(engine.unload("model-0"))
        model.may_finish.set()
        await pictures_of(job)


async def unloaded(engine: Engine) -> bool:
    try:
        await asyncio.wrap_future(engine.unload("model-0"))
    except ModelBusy:
        return False
    return engine.pool.state("model-0") == "unloaded"


async def test_jobs_of_a_model_that_cannot_be_loaded_are_told_so() -> None:
    def fail() -> Model:
        raise ModelNotFound("no such file")

    engine = Engine(ModelPool({"good": Served(SteppingModel), "bad": Served(fail)}))
    engine.start()
    try:
        await eventually(lambda: engine.ready)
        job = engine.submit("job", ImageRequest("x", seed=1, model="bad"))
        with pytest.raises(ModelUnavailable, match="no such file"):
            await pictures_of(job)
        await pictures_of(engine.submit("next", ImageRequest("x", seed=1)))
    finally:
        await asyncio.to_thread(engine.close)
