"""Inputs that would harm the runtime, or what stands around it, end a job before it has a turn."""

from typing import Any

import pytest

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
