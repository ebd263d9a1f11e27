"""Inputs that would harm the runtime, or what stands around it, end a job before it has a turn."""

import base64
from dataclasses import dataclass
from typing import Any

import pytest

from media_files import BROKEN, HUGE
from queue_agent.runtime import Artifact, Output, Prepared, ProgressCallback
from worker_bench import Bench

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"mask_image": "https://10.0.0.1/"}, "mask_image"),
        ({"a": {"b": ["x", " http://10.0.0.1/"]}}, "a.b[1]"),
        ({"url": "file:/etc/passwd"}, "url"),
        ({"path": "\\\\host\\share"}, "path"),
        ({"init_images": ["s3://results/a"], "copy": "s3://results/a"}, "copy"),
    ],
)
async def test_a_place_that_the_runtime_would_fetch_is_refused_at_the_first_attempt(
    bench: Bench, content: dict[str, Any], field: str
) -> None:
    await bench.publish("order-1", {"prompt": "http://is.a/prompt", **content})
    async with bench.working():
        told = await bench.settled("order-1")
    assert told.error is not None
    assert (told.error.type, told.attempt) == ("reference_forbidden", 1)
    assert told.error.message.startswith(f"{field}: ")
    assert not bench.runtime.prepared


@pytest.mark.parametrize("data", HUGE.values(), ids=HUGE.keys())
@pytest.mark.parametrize("carried", [True, False])
async def test_an_image_that_would_not_fit_into_memory_is_too_large_at_the_first_attempt(
    bench: Bench, data: bytes, carried: bool
) -> None:
    told = await told_of(bench, data, carried)
    assert (told.error, told.attempt) == ("reference_too_large", 1)


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("carried", [True, False])
async def test_a_broken_image_is_refused_at_the_first_attempt(
    bench: Bench, data: bytes, carried: bool
) -> None:
    told = await told_of(bench, data, carried)
    assert (told.error, told.attempt) == (
        "invalid_content" if carried else "reference_not_image",
        1,
    )


@dataclass
class Told:
    error: str | None
    attempt: int


async def told_of(bench: Bench, data: bytes, carried: bool) -> Told:
    """How a job ends with that image in a field of its own, or as a reference."""
    content: dict[str, Any] = {"mask": base64.b64encode(data).decode()}
    if not carried:
        await bench.results.write("inputs/a", data, media_type="image/png")
        content = {"init_images": [bench.results.url("inputs/a")]}
    await bench.publish("order-1", content)
    async with bench.working():
        told = await bench.settled("order-1")
    assert not bench.runtime.runs
    return Told(told.error.type if told.error else None, told.attempt)


@pytest.mark.parametrize("name", sorted(HUGE.keys() - {"png of a huge header"}))  # which has no end
async def test_an_output_that_cannot_be_measured_is_stored_all_the_same(
    bench: Bench, name: str
) -> None:
    data = HUGE[name]

    async def give(prepared: Prepared, report: ProgressCallback) -> Output:
        return Output((Artifact(data, "image/png"),))

    bench.runtime.script("order-1", give)
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    (image,) = told.images
    assert (told.status, told.attempt, image.bytes) == ("completed", 1, len(data))
    assert bench.results.objects[image.url.removeprefix(bench.results.url(""))][0] == data
