"""Which models are loaded beside each other, and what happens where memory is short."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from diffusers_servers import SteppingModel
from queue_agent.testing import eventually
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.jobs import EngineJob
from queue_agent_diffusers.engine.model import Model
from queue_agent_diffusers.engine.pool import ModelPool, Served
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import ModelUnavailable, ModelUnreadable, WeightsTooLarge


@asynccontextmanager
async def serving(
    budget: int | None = None, **served: Served | Callable[[], Model]
) -> AsyncIterator[Engine]:
    """An engine with these models, once the first one is loaded."""
    models = {name: one if isinstance(one, Served) else Served(one) for name, one in served.items()}
    engine = Engine(ModelPool(models, budget=lambda: budget), switch_after=0.01)
    engine.start()
    try:
        await eventually(lambda: engine.ready)
        yield engine
    finally:
        await asyncio.to_thread(engine.close)


def ask(engine: Engine, model: str, number: int = 0, steps: int = 3) -> EngineJob:
    request = ImageRequest("x", seed=1, model=model, steps=steps)
    return engine.submit(f"{model}-{number}", request)


async def ended(*jobs: EngineJob) -> None:
    async with asyncio.timeout(60):
        for job in jobs:
            await asyncio.wrap_future(job.result)


@pytest.mark.parametrize("budget", [None, 1000])
async def test_what_does_not_fit_beside_others_is_loaded_when_they_have_made_way(
    budget: int | None,
) -> None:
    first, second = SteppingModel(), SteppingModel()
    attempts: list[bool] = []

    def load_second() -> Model:
        attempts.append(first.closed)
        if not first.closed:
            raise WeightsTooLarge("they do not fit")
        return second

    async with serving(budget, first=lambda: first, second=load_second) as engine:
        await ended(ask(engine, "second"), ask(engine, "second", 1))
        assert attempts == [False, True]
        assert engine.pool.loaded == {"second"}


async def test_what_does_not_even_fit_alone_is_a_failure_that_is_told() -> None:
    def load_second() -> Model:
        raise WeightsTooLarge("they do not fit")

    async with serving(first=SteppingModel, second=load_second) as engine:
        with pytest.raises(ModelUnavailable, match="'second' cannot be loaded: they do not fit"):
            await ended(ask(engine, "second"))
        await ended(ask(engine, "first"))


async def test_nobody_waits_while_it_is_looked_at_how_large_a_model_is() -> None:
    first, looks, may_tell = SteppingModel(), threading.Event(), threading.Event()

    def size() -> int:
        looks.set()
        may_tell.wait()
        return 100

    second = Served(SteppingModel, size)
    async with serving(150, first=lambda: first, second=second) as engine:
        try:
            other = ask(engine, "second")
            await asyncio.to_thread(looks.wait)
            await ended(ask(engine, "first"))
            assert not other.ended
        finally:
            may_tell.set()
        await ended(other)
        assert first.closed


async def test_how_large_a_model_is_is_known_from_its_last_load() -> None:
    looks: list[int] = []

    def size() -> int:
        looks.append(1)
        raise OSError("nobody knows")

    served = Served(SteppingModel, size)
    async with serving(250, first=SteppingModel, second=served) as engine:
        engine.preload("second")
        await eventually(lambda: looks == [1] and not engine.pool.loading)
        assert engine.pool.loaded == {"first"}
        await ended(ask(engine, "second"))
        assert looks == [1], "there is no use in looking again"
        await asyncio.wrap_future(engine.unload("second"))
        engine.preload("second")
        await eventually(lambda: engine.pool.loaded == {"first", "second"})
        assert looks == [1]


async def test_jobs_that_come_together_load_their_model_once() -> None:
    loads: list[int] = []

    def load_second() -> Model:
        loads.append(1)
        return SteppingModel()

    async with serving(first=SteppingModel, second=load_second) as engine:
        await ended(*(ask(engine, "second", number) for number in range(9)))
        assert loads == [1]


async def test_a_load_that_fails_is_nothing_to_the_other_models() -> None:
    def fail() -> Model:
        raise ModelUnreadable("it is damaged")

    async with serving(first=SteppingModel, bad=fail, third=SteppingModel) as engine:
        bad, good, third = ask(engine, "bad"), ask(engine, "first"), ask(engine, "third")
        with pytest.raises(ModelUnavailable, match="it is damaged"):
            await ended(bad)
        await ended(good, third)
        assert engine.pool.state("bad") == "failed"
