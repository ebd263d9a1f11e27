"""The engine and its HTTP side around models that behave as a test wants them to."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

import httpx
import pytest
from PIL import Image

from diffusers_servers import engine_of
from queue_agent.runtime.http import Response, error_from
from queue_agent.testing import eventually
from queue_agent.wire.errors import RuntimeSick
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.model import Model, OnStep
from queue_agent_diffusers.engine.pool import ModelPool, Served
from queue_agent_diffusers.engine.requests import (
    Clip,
    ControlInput,
    ImagePrompt,
    ImageRequest,
    Pictures,
)
from queue_agent_diffusers.engine.unbatched import UnbatchedModel
from queue_agent_diffusers.errors import DeviceBroken, OutOfMemory, QueueFull
from queue_agent_diffusers.http.app import create_app

GENERATIONS = "/v1/images/generations"


class ScriptedModel(UnbatchedModel):
    """Fails with an error, or makes a picture once the gate is open."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.gate = threading.Event()
        self.worked_on: list[str] = []

    def generate(self, request: ImageRequest, on_step: OnStep) -> Pictures:
        self.worked_on.append(request.prompt)
        if self.error is not None:
            raise self.error
        while not self.gate.wait(0.01):
            on_step(1, 2)
        return Pictures([Image.new("RGB", (64, 64))])


@contextmanager
def running(model: Model, *, max_waiting: int = 64) -> Iterator[Engine]:
    engine = engine_of(model, max_waiting=max_waiting)
    engine.start()
    try:
        yield engine
    finally:
        engine.close()


def client_of(engine: Engine) -> httpx.AsyncClient:
    app = create_app(engine)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/docs/oauth2-redirect", "/redoc", "/"])
async def test_no_page_loads_scripts_from_elsewhere(path: str) -> None:
    with running(ScriptedModel()) as engine:
        async with client_of(engine) as client:
            answer = await client.get(path)
            assert answer.status_code == 404
            assert "<script" not in answer.text
            assert (await client.get("/openapi.json")).status_code == 200


async def test_health_is_503_until_the_model_is_loaded() -> None:
    loaded, model = threading.Event(), ScriptedModel()

    def load() -> Model:
        loaded.wait()
        return model

    engine = Engine(ModelPool({"scripted": Served(load)}))
    engine.start()
    async with client_of(engine) as client:
        assert (await client.get("/health")).status_code == 503
        answer = await client.post(GENERATIONS, json={"prompt": "x"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert (await client.post("/v1/images/edits")).status_code == 503
        loaded.set()
        await eventually(lambda: engine.ready)
        assert (await client.get("/health")).status_code == 200
        engine.close()
        assert (await client.get("/health")).status_code == 503


async def test_a_model_that_cannot_be_loaded_is_told_of() -> None:
    told = threading.Event()

    def load() -> Model:
        raise OSError("no such disk")

    engine = Engine(ModelPool({"scripted": Served(load)}))
    engine.start(told.set)
    assert await asyncio.to_thread(told.wait, 90)
    assert not engine.ready
    assert str(engine.failure) == "no such disk"


async def test_a_device_beyond_repair_ends_the_server_and_is_no_jobs_fault() -> None:
    model, ended = ScriptedModel(RuntimeError("CUDA error: device-side assert triggered")), []
    engine = engine_of(model, max_waiting=64)
    engine.start(lambda: ended.append(True))
    async with client_of(engine) as client:
        await eventually(lambda: engine.ready)
        answers = await asyncio.gather(
            *(client.post(GENERATIONS, json={"prompt": str(number)}) for number in range(3))
        )
        for answer in answers:
            assert answer.status_code == 503
            assert type(error_from(Response(503, answer.content))) is RuntimeSick
        await eventually(lambda: bool(ended))
        health = await client.get("/health")
        assert (health.status_code, health.json()["error"]["code"]) == (503, "device_broken")
    assert len(model.worked_on) == 1, "the others need not find out themselves"
    assert "device-side assert" in str(engine.failure)
    engine.close()


class EndsMeanwhile:
    """Stages of a job that is queued at the very moment at which the device breaks."""

    def __init__(self, breaks: threading.Event, ended: threading.Event) -> None:
        self._breaks, self._ended = breaks, ended

    def enter(self, stage: str) -> None:
        self._breaks.set()
        assert self._ended.wait(60), stage

    def end(self, *, error_type: str | None = None, message: str = "") -> None:
        """As any other."""


class FailsOnceOpen(ScriptedModel):
    """Fails only once its gate is open."""

    def generate(self, request: ImageRequest, on_step: OnStep) -> Pictures:
        assert self.gate.wait(60)
        return super().generate(request, on_step)


async def test_a_job_that_comes_while_the_device_breaks_is_refused() -> None:
    model = FailsOnceOpen(RuntimeError("CUDA error: device-side assert triggered"))
    ended = threading.Event()
    engine = engine_of(model, max_waiting=64)
    engine.start(ended.set)
    await eventually(lambda: engine.ready)
    first = engine.submit("first", ImageRequest("a", seed=1))
    with pytest.raises(DeviceBroken):
        engine.submit("next", ImageRequest("b", seed=1), stages=EndsMeanwhile(model.gate, ended))
    assert isinstance(first.result.exception(60), DeviceBroken)
    assert engine.active_jobs() == []
    engine.close()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OutOfMemory("2 images do not fit"), 413, "out_of_memory"),
        (ValueError("odd"), 500, "generation_failed"),
    ],
)
async def test_a_failure_of_the_model_is_answered_and_the_next_job_works(
    error: Exception, status: int, code: str
) -> None:
    model = ScriptedModel(error)
    model.gate.set()
    with running(model) as engine:
        await eventually(lambda: engine.ready)
        async with client_of(engine) as client:
            headers = {"X-Request-Id": "job"}
            answer = await client.post(GENERATIONS, json={"prompt": "x"}, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
            assert str(error) in answer.json()["error"]["message"]
            assert (await client.get("/v1/jobs/job")).json()["status"] == "failed"
            model.error = None
            assert (await client.post(GENERATIONS, json={"prompt": "x"})).status_code == 200


async def test_closing_cancels_what_runs_and_what_waits() -> None:
    model = ScriptedModel()
    with running(model) as engine:
        await eventually(lambda: engine.ready)
        first = engine.submit("first", ImageRequest("one", seed=1))
        second = engine.submit("second", ImageRequest("two", seed=1))
        await eventually(lambda: first.state == "running")
    assert (first.state, second.state) == ("cancelled", "cancelled")
    assert model.worked_on == ["one"]


async def test_jobs_are_worked_on_one_at_a_time_in_order_up_to_a_limit() -> None:
    model = ScriptedModel()
    with running(model, max_waiting=2) as engine:
        await eventually(lambda: engine.ready)
        jobs = [engine.submit("0", ImageRequest("0", seed=1))]
        await eventually(lambda: jobs[0].state == "running")
        jobs += [engine.submit(name, ImageRequest(name, seed=1)) for name in ("1", "2")]
        with pytest.raises(QueueFull):
            engine.submit("3", ImageRequest("3", seed=1))
        assert model.worked_on == ["0"]
        model.gate.set()
        for job in jobs:
            await asyncio.wrap_future(job.result)
        assert model.worked_on == ["0", "1", "2"]


async def test_old_jobs_are_forgotten_but_none_that_waits() -> None:
    model = ScriptedModel()
    with running(model, max_waiting=2000) as engine:
        await eventually(lambda: engine.ready)
        jobs = [engine.submit(str(number), ImageRequest("x", seed=1)) for number in range(1100)]
        for job in jobs[1:1000]:
            job.cancel()
        engine.submit("last", ImageRequest("x", seed=1))
        known = {job.id for job in engine.active_jobs()}
        assert {"0", "1000", "1099", "last"} <= known
        with pytest.raises(Exception, match="No job '1' is known"):
            engine.find("1")
        assert engine.find("999").state == "cancelled"


def picture_fields(kind: Any) -> set[str]:
    """The fields of a dataclass in which there may be pictures, at any depth."""

    def may_hold(hint: Any) -> bool:
        if is_dataclass(hint):
            return bool(picture_fields(hint))
        return hint is Image.Image or any(map(may_hold, get_args(hint)))

    return {name for name, hint in get_type_hints(kind).items() if may_hold(hint)}


async def test_of_a_job_that_has_ended_no_picture_is_kept() -> None:
    model = ScriptedModel()
    model.gate.set()
    with running(model) as engine:
        await eventually(lambda: engine.ready)
        given = [Image.new("RGB", (64, 64)) for _ in range(6)]
        request = ImageRequest(
            "x",
            seed=1,
            image=given[0],
            mask=given[1],
            controls=(ControlInput("edges", given[2]),),
            image_prompts=(ImagePrompt("style", given[3]),),
            clip=Clip(last_frame=given[4]),
            references=(given[5],),
        )
        assert all(getattr(request, name) for name in picture_fields(ImageRequest))
        job = engine.submit("1", request)
        made = await asyncio.wrap_future(job.result)
        pictures = [weakref.ref(picture) for picture in (*given, made.images[0])]
        del given, request, job, made

        def alive() -> list[object]:
            gc.collect()
            return [picture() for picture in pictures if picture() is not None]

        await eventually(lambda: alive() == [])
        assert (engine.find("1").state, engine.find("1").progress) == ("completed", 1.0)
