"""What an engine has done of a job is gone on with by another, to the same pictures."""

import asyncio
import dataclasses
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from diffusers_servers import PaintingModel, engine_with, tiny_model
from harness import PATIENCE
from queue_agent.testing import eventually
from queue_agent_diffusers.engine.checkpoint import read_head
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.jobs import EngineJob, Preview, Step
from queue_agent_diffusers.engine.requests import ImageRequest, LoraWeight
from queue_agent_diffusers.errors import RequestCancelled
from queue_agent_diffusers.http.app import create_app
from queue_agent_diffusers.http.checkpoints import most_waiting
from queue_agent_diffusers.options import MIB, Options
from step_batches import stepped_together

SAMPLERS = ("Euler a", "DPM++ 2M", "DPM++ 2M SDE", "UniPC", "Heun", "DDPM")
TRANSFORMERS = ("Flux", "Flux.2", "Stable Diffusion 3", "Qwen-Image", "PixArt", "Z-Image")
WANTED = ImageRequest("a lighthouse", seed=7, count=2, width=64, height=64, steps=6)


@pytest.fixture(scope="module")
def unet() -> Any:
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415

    return load_model(str(tiny_model()), Options(device="cpu"))


def transformer(name: str) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415
    from tiny_transformers import tiny_transformer  # noqa: PLC0415  loads torch

    pipeline = tiny_transformer(name)
    architecture = architecture_of(pipeline)
    assert architecture is not None
    return TransformerModel(pipeline, architecture, max_batch=8)


class Suspends:
    """Suspends a job once it has come to a step."""

    def __init__(self, engine: Engine, step: int) -> None:
        self.engine = engine
        self.step = step
        self.job: EngineJob | None = None
        self.submitted = threading.Event()
        self.checkpoint: Any = None

    def __call__(self, news: Step | Preview) -> None:
        self.submitted.wait(PATIENCE)
        if isinstance(news, Step) and news.step >= self.step and self.checkpoint is None:
            assert self.job is not None
            self.checkpoint = self.engine.checkpoint(self.job.id, stop=True)


def bytes_of(job: EngineJob) -> list[bytes]:
    return [picture.tobytes() for picture in job.result.result(PATIENCE).images]


def whole(model: Any, request: ImageRequest) -> list[bytes]:
    with engine_with(model) as engine:
        return bytes_of(engine.submit("whole", request))


def suspended(model: Any, request: ImageRequest, step: int) -> bytes:
    data = handed_out(model, request, step)
    assert data is not None
    return data


def handed_out(model: Any, request: ImageRequest, step: int) -> bytes | None:
    with engine_with(model) as engine:
        suspends = Suspends(engine, step)
        suspends.job = engine.submit("1", request, suspends)
        suspends.submitted.set()
        with pytest.raises(RequestCancelled):
            suspends.job.result.result(PATIENCE)
        data: bytes | None = suspends.checkpoint.result(PATIENCE)
    return data


def gone_on_with(model: Any, request: ImageRequest, checkpoint: bytes) -> tuple[list[bytes], int]:
    """The pictures, and the steps of its images together that were not taken again."""
    with engine_with(model) as engine:
        job = engine.submit("2", request, checkpoint=checkpoint)
        return bytes_of(job), job.resumed_steps


def assert_goes_on(model: Any, request: ImageRequest, step: int) -> None:
    checkpoint = suspended(model, request, step)
    pictures, resumed = gone_on_with(model, request, checkpoint)
    assert resumed == step * request.count
    assert pictures == whole(model, request)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_suspended_job_goes_on_to_the_same_pictures_by_any_sampler(
    unet: Any, sampler: str
) -> None:
    assert_goes_on(unet, dataclasses.replace(WANTED, scheduler=sampler), 3)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_suspended_job_of_a_transformer_goes_on_to_the_same_pictures(name: str) -> None:
    assert_goes_on(transformer(name), dataclasses.replace(WANTED, steps=4), 2)


def test_a_fast_job_goes_on_to_the_same_pictures() -> None:
    model = transformer("Flux")
    fast = dataclasses.replace(WANTED, count=1, steps=12, quality="fast")
    for step in (2, 5, 8):
        assert_goes_on(model, fast, step)


def test_a_job_that_was_ended_after_its_last_step_is_only_decoded(unet: Any) -> None:
    [samples] = stepped_together(unet, [WANTED])
    make = unet.checkpoint(WANTED, samples, sys.maxsize)
    assert gone_on_with(unet, WANTED, make()) == (whole(unet, WANTED), 12)


def test_a_model_that_takes_all_steps_in_one_call_has_saved_none() -> None:
    pictures, resumed = gone_on_with(PaintingModel(), WANTED, b"of some other model")
    assert resumed == 0
    assert pictures == whole(PaintingModel(), WANTED)


def test_a_job_can_be_suspended_again_and_again(unet: Any) -> None:
    checkpoint = suspended(unet, WANTED, 2)
    with engine_with(unet) as engine:
        suspends = Suspends(engine, 4)
        suspends.job = engine.submit("2", WANTED, suspends, checkpoint=checkpoint)
        suspends.submitted.set()
        with pytest.raises(RequestCancelled):
            suspends.job.result.result(PATIENCE)
        again = suspends.checkpoint.result(PATIENCE)
    assert len(again) > len(checkpoint)
    assert gone_on_with(unet, WANTED, again) == (whole(unet, WANTED), 8)


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "a mountain"},
        {"negative_prompt": "forest"},
        {"seed": 8},
        {"count": 1},
        {"width": 128},
        {"steps": 7},
        {"guidance_scale": 2.0},
        {"scheduler": "Euler a"},
    ],
    ids=str,
)
def test_a_checkpoint_of_another_request_is_not_used(unet: Any, changed: dict[str, Any]) -> None:
    checkpoint = suspended(unet, WANTED, 2)
    other = dataclasses.replace(WANTED, **changed)
    assert gone_on_with(unet, other, checkpoint) == (whole(unet, other), 0)


def test_a_checkpoint_of_another_model_is_not_used(unet: Any, tmp_path: Path) -> None:
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415
    from queue_agent_diffusers.torch.tiny import build_tiny_model  # noqa: PLC0415

    build_tiny_model(tmp_path, seed=1)
    other = load_model(str(tmp_path), Options(device="cpu"))
    checkpoint = suspended(unet, WANTED, 2)
    assert gone_on_with(other, WANTED, checkpoint) == (whole(other, WANTED), 0)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "head", "no head"])
def test_a_damaged_checkpoint_costs_time_and_nothing_else(unet: Any, damage: str) -> None:
    good = suspended(unet, WANTED, 2)
    bad = {
        "cut": good[:-100],
        "flipped": good[:-1] + bytes([good[-1] ^ 1]),
        "empty": b"",
        "text": b"no checkpoint at all",
        "head": good.replace(b"sd-queue-agent checkpoint", b"something else's checkpoint"),
        "no head": b"\xff" * 64,
    }[damage]
    assert gone_on_with(unet, WANTED, bad) == (whole(unet, WANTED), 0)


def forged(checkpoint: bytes, **tensors: Any) -> bytes:
    """A checkpoint of the same request and model, with other predictions."""
    from safetensors.torch import save  # noqa: PLC0415  loads torch

    from queue_agent_diffusers.torch.predictions import digest_of  # noqa: PLC0415

    named = {name.replace("_", "."): tensor for name, tensor in tensors.items()}
    head = dataclasses.replace(read_head(checkpoint), sha256=digest_of(named))
    return bytes(save(named, metadata=head.metadata()))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1,), "float32"),
        ((), "float32"),
        ((0, 4, 8, 8), "float32"),
        ((2, 4, 16, 16), "float32"),
        ((2, 4, 8, 8), "float64"),
        ((2, 4, 8, 8), "complex64"),
        ((2, 4, 8, 8), "bool"),
        ((2, 4, 8, 8), "float8_e4m3fn"),
    ],
)
def test_predictions_that_no_network_made_cost_time_and_nothing_else(
    unet: Any, shape: Sequence[int], dtype: str
) -> None:
    import torch  # noqa: PLC0415

    one = dataclasses.replace(WANTED, count=1)
    odd = torch.ones(shape).to(getattr(torch, dtype))
    bad = forged(suspended(unet, one, 2), **{"0_0": odd, "0_1": odd.clone()})
    assert gone_on_with(unet, one, bad) == (whole(unet, one), 0)


PREDICTION = 2 * 4 * 8 * 8 * 4
"""Bytes of one of the tiny model's: guidance, channels, cells, float32."""


@pytest.fixture
def limited(unet: Any) -> Iterator[Any]:
    """The model, whose limit is as before after the test."""
    before = unet.checkpoint_limit
    yield unet
    unet.checkpoint_limit = before


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_model_keeps_the_first_steps_that_its_limit_holds(limited: Any, steps: int) -> None:
    limited.checkpoint_limit = steps * PREDICTION + 1
    checkpoint = suspended(limited, WANTED, 5)
    assert read_head(checkpoint).predictions == steps * WANTED.count
    pictures, resumed = gone_on_with(limited, WANTED, checkpoint)
    assert resumed == steps * WANTED.count
    assert pictures == whole(limited, WANTED)


def test_a_model_that_may_keep_nothing_hands_out_nothing(limited: Any) -> None:
    limited.checkpoint_limit = PREDICTION - 1
    assert handed_out(limited, WANTED, 3) is None


@pytest.mark.parametrize("limit", [0, 4096, 6_500, 8_000, 11_000, 15_000, 10**6])
def test_what_is_handed_out_is_as_much_as_is_asked_for(unet: Any, limit: int) -> None:
    [samples] = stepped_together(unet, [WANTED])
    data = unet.checkpoint(WANTED, samples, limit)()
    if limit < 8_500:
        assert data is None, "not one step of both images"
        return
    assert len(data) <= limit
    steps = read_head(data).predictions // WANTED.count
    assert steps == min(6, (limit - 4096) // (2 * (PREDICTION + 160)))
    assert gone_on_with(unet, WANTED, data) == (whole(unet, WANTED), 2 * steps)


def test_what_is_still_on_its_way_from_the_device_is_left_out(
    unet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = iter([True, True, True, *[False] * 100])

    def on_its_way(_device: object) -> Callable[[], bool]:
        there = next(copied)
        return lambda: there

    one = dataclasses.replace(WANTED, count=1)
    monkeypatch.setattr("queue_agent_diffusers.torch.predictions._PATIENCE", 0.01)
    monkeypatch.setattr("queue_agent_diffusers.torch.predictions._copied", on_its_way)
    [samples] = stepped_together(unet, [one])
    data = unet.checkpoint(one, samples, sys.maxsize)()
    assert read_head(data).predictions == 3


def test_of_what_cannot_be_told_from_others_nothing_is_handed_out(unet: Any) -> None:
    [samples] = stepped_together(unet, [WANTED])
    gone = dataclasses.replace(WANTED, loras=(LoraWeight("removed-meanwhile"),))
    assert unet.checkpoint(gone, samples, sys.maxsize)() is None


class Decoding:
    """Stays in the decoding of the first job until it is released."""

    def __init__(self, model: Any) -> None:
        self.begun, self.released = threading.Event(), threading.Event()
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def finish(self, request: ImageRequest, samples: Sequence[Any]) -> Any:
        make = self._model.finish(request, samples)

        def slowly() -> Any:
            self.begun.set()
            self.released.wait(PATIENCE)
            return make()

        return slowly


def test_a_checkpoint_does_not_wait_until_others_pictures_are_made(unet: Any) -> None:
    model = Decoding(unet)
    with engine_with(model) as engine:
        first = engine.submit("first", dataclasses.replace(WANTED, steps=1))
        assert model.begun.wait(PATIENCE)
        suspends = Suspends(engine, 3)
        suspends.job = engine.submit("1", WANTED, suspends)
        suspends.submitted.set()
        with pytest.raises(RequestCancelled):
            suspends.job.result.result(PATIENCE)
        checkpoint = suspends.checkpoint.result(PATIENCE)
        own = engine.checkpoint("first", stop=True).result(PATIENCE)
        assert not first.ended
        model.released.set()
    assert gone_on_with(unet, WANTED, checkpoint)[1] == 3 * 2
    assert own is not None
    assert read_head(own).predictions == 1 * 2, "which is only left to be decoded"


@contextmanager
def client_of(engine: Engine) -> Iterator[httpx.AsyncClient]:
    yield httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(engine)),
        base_url="http://127.0.0.1",
        timeout=PATIENCE,
    )


BODY = {"prompt": "a lighthouse", "size": "64x64", "num_inference_steps": 40, "n": 2}


class Gated:
    """Lets a model take so many steps, and then waits."""

    def __init__(self, model: Any) -> None:
        self.steps = threading.Semaphore(0)
        self.taken = 0
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, samples: Sequence[Any]) -> Any:
        self.steps.acquire()
        self.taken += len(samples)
        return self._model.predict(samples)


async def is_at(client: httpx.AsyncClient, step: int) -> bool:
    status: dict[str, Any] = (await client.get("/v1/jobs/job")).json()
    return bool(status.get("step") == step)


async def suspended_over_http(model: Any, fields: dict[str, Any], step: int) -> bytes:
    gated = Gated(model)
    with engine_with(gated) as engine, client_of(engine) as client:
        answer = asyncio.create_task(
            client.post("/v1/images/generations", json=fields, headers={"X-Request-Id": "job"})
        )
        gated.steps.release(step)
        await eventually(lambda: is_at(client, step))
        suspending = asyncio.create_task(client.post("/v1/jobs/job/suspend"))
        while not suspending.done():  # between two steps, of which one is under way
            gated.steps.release()
            await asyncio.sleep(0.01)
        handed = suspending.result()
        assert (await answer).status_code == 409
        await client.aclose()
    assert handed.status_code == 200
    return handed.content


async def test_over_http_a_job_without_a_seed_goes_on_with_the_one_that_it_had(unet: Any) -> None:
    checkpoint = await suspended_over_http(unet, BODY, 3)
    seed = read_head(checkpoint).seed
    gated = Gated(unet)
    gated.steps.release(1000)
    with engine_with(gated) as engine, client_of(engine) as client:
        uploaded = await client.put("/v1/jobs/again/checkpoint", content=checkpoint)
        assert uploaded.status_code == 204
        answer = await client.post(
            "/v1/images/generations", json=BODY, headers={"X-Request-Id": "again"}
        )
        status = (await client.get("/v1/jobs/again")).json()
        taken = gated.taken
        plain = await client.post("/v1/images/generations", json={**BODY, "seed": seed})
        await client.aclose()
    made, undisturbed = answer.json()["data"], plain.json()["data"]
    assert made == undisturbed
    assert [image["seed"] for image in made] == [seed, seed + 1]
    assert 2 * 3 <= status["resumed_steps"] == 2 * 40 - taken


async def test_over_http_a_job_goes_on_while_it_hands_out_what_it_has_done(unet: Any) -> None:
    gated = Gated(unet)
    with engine_with(gated) as engine, client_of(engine) as client:
        fields = {**BODY, "seed": 1}
        answer = asyncio.create_task(
            client.post("/v1/images/generations", json=fields, headers={"X-Request-Id": "job"})
        )
        gated.steps.release(3)
        await eventually(lambda: is_at(client, 3))
        asking = asyncio.create_task(client.get("/v1/jobs/job/checkpoint"))
        while not asking.done():
            gated.steps.release()
            await asyncio.sleep(0.01)
        gated.steps.release(1000)
        assert (await answer).status_code == 200
        assert (await client.get("/v1/jobs/job/checkpoint")).status_code == 204
        await client.aclose()
    assert read_head(asking.result().content).seed == 1


@pytest.mark.parametrize("stop", [True, False])
async def test_over_http_a_step_that_takes_long_is_not_waited_for(
    unet: Any, monkeypatch: pytest.MonkeyPatch, *, stop: bool
) -> None:
    monkeypatch.setattr("queue_agent_diffusers.http.checkpoints.STEP_PATIENCE", 0.01)
    gated = Gated(unet)
    with engine_with(gated) as engine, client_of(engine) as client:
        fields = {**BODY, "num_inference_steps": 6, "seed": 1}
        answer = asyncio.create_task(
            client.post("/v1/images/generations", json=fields, headers={"X-Request-Id": "job"})
        )
        gated.steps.release(3)
        await eventually(lambda: is_at(client, 3))
        if stop:
            handed = await client.post("/v1/jobs/job/suspend")
        else:
            handed = await client.get("/v1/jobs/job/checkpoint")
        gated.steps.release(1000)
        assert (await answer).status_code == (409 if stop else 200)
        await client.aclose()
    assert handed.headers["X-Checkpoint-Done"] == "6"
    request = dataclasses.replace(WANTED, seed=1)
    assert gone_on_with(unet, request, handed.content) == (whole(unet, request), 6)


async def test_over_http_no_more_is_handed_out_than_is_asked_for(unet: Any) -> None:
    model = Decoding(unet)
    with engine_with(model) as engine, client_of(engine) as client:
        fields = {**BODY, "num_inference_steps": 6, "seed": 1}
        answer = asyncio.create_task(
            client.post("/v1/images/generations", json=fields, headers={"X-Request-Id": "job"})
        )
        await asyncio.to_thread(model.begun.wait, PATIENCE)
        some = await client.get("/v1/jobs/job/checkpoint?limit=13500")
        none = await client.get("/v1/jobs/job/checkpoint?limit=0")
        wrong = await client.get("/v1/jobs/job/checkpoint?limit=all")
        model.released.set()
        assert (await answer).status_code == 200
        await client.aclose()
    assert (some.status_code, len(some.content) <= 13_500) == (200, True)
    assert read_head(some.content).predictions == 4
    assert (none.status_code, wrong.status_code) == (204, 422)


async def test_over_http_a_checkpoint_may_be_larger_than_other_bodies(
    unet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queue_agent_diffusers.http.app.MAX_BODY", 1000)
    monkeypatch.setattr("queue_agent_diffusers.http.app.most_waiting", lambda _: 5000)
    with engine_with(unet) as engine, client_of(engine) as client:
        put = await client.put("/v1/jobs/job/checkpoint", content=bytes(5000))
        other = await client.post("/v1/images/generations", content=bytes(1001))
        too_large = await client.put("/v1/jobs/job/checkpoint", content=bytes(5001))
        await client.aclose()
    assert (put.status_code, other.status_code, too_large.status_code) == (204, 413, 413)


def test_there_is_room_to_upload_what_operators_have_kept() -> None:
    assert most_waiting(Options()) == 256 * MIB
    assert most_waiting(Options(checkpoint_limit=512)) == 2048 * MIB


ODD_HEADS: list[dict[str, object]] = [
    {"seed": float("inf")},
    {"seed": 7},
    {"seed": "1e9"},
    {"seed": "9" * 5000},
    {"seed": str(-(10**40))},
    {"predictions": float("inf")},
    {"passes": '[[["unet", 0, Infinity]], []]'},
    {"passes": "[" * 10_000},
    {"passes": None},
    {"sha256": ["no"]},
    {"version": "2"},
]


@pytest.mark.parametrize("odd", ODD_HEADS, ids=lambda odd: str(odd)[:40])
async def test_over_http_a_checkpoint_with_an_odd_head_costs_time_and_nothing_else(
    unet: Any, odd: dict[str, object]
) -> None:
    good = suspended(unet, WANTED, 2)
    size = int.from_bytes(good[:8], "little")
    head = json.loads(good[8 : 8 + size])
    head["__metadata__"] |= odd
    text = json.dumps(head).encode()
    bad = len(text).to_bytes(8, "little") + text + good[8 + size :]
    with engine_with(unet) as engine, client_of(engine) as client:
        await client.put("/v1/jobs/job/checkpoint", content=bad)
        answer = await client.post(
            "/v1/images/generations",
            json={**BODY, "num_inference_steps": 2, "n": 1},
            headers={"X-Request-Id": "job"},
        )
        await client.aclose()
    assert answer.status_code == 200
    assert gone_on_with(unet, WANTED, bad)[0] == whole(unet, WANTED)


async def test_over_http_an_unknown_job_has_no_checkpoint(unet: Any) -> None:
    with engine_with(unet) as engine, client_of(engine) as client:
        assert (await client.get("/v1/jobs/none/checkpoint")).status_code == 404
        assert (await client.post("/v1/jobs/none/suspend")).status_code == 404
        await client.aclose()
