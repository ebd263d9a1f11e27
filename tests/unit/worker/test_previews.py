"""Images of the work under way: where they lie, how often, and that they are gone at the end."""

import asyncio
import io
import math
import struct
import zlib
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import Any

import pytest
from PIL import Image

from queue_agent.media.facts import UnreadableImage, facts_of
from queue_agent.media.previews import LARGEST_PREVIEW, PREVIEW_SIDE, small_preview
from queue_agent.runtime import Artifact, Output, Prepared, Progress, ProgressCallback
from queue_agent.testing import sample_png
from queue_agent.wire.errors import Rejected, RunLost, Unavailable
from queue_agent.wire.job import parse_job
from queue_agent.wire.layout import ResultKeys
from worker_bench import Behaviour, Bench

pytestmark = pytest.mark.looptime


def showing(
    previews: Iterable[bytes], *, every: float = 1.0, ending: Exception | None = None
) -> Behaviour:
    """A run that reports these, and then makes its picture or fails."""

    async def behave(prepared: Prepared, report: ProgressCallback) -> Output:
        for preview in previews:
            report(Progress(0.1, preview=preview))
            await asyncio.sleep(every)
        if ending is not None:
            raise ending
        return Output((Artifact(sample_png(8, 8), "image/png"),))

    return behave


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def key_of(bench: Bench, job_id: str = "order-1") -> str:
    return ResultKeys.of(parse_job(bench.body(job_id))).preview


def writes(bench: Bench) -> list[str]:
    return [
        call.subject
        for call in bench.cloud.calls
        if call.operation == "bucket.write" and call.subject.endswith(".preview")
    ]


def left(bench: Bench) -> list[str]:
    return [key for key in bench.results.objects if key.endswith(".preview")]


def watched(**policy: Any) -> Bench:
    return Bench(policy={"preview_interval": 2.0, **policy})


PICTURE = sample_png(64, 48)


async def test_the_latest_preview_lies_beside_the_results_until_the_end() -> None:
    bench = watched()
    bench.runtime.script("order-1", showing([PICTURE] * 10))
    await bench.publish("order-1", previews=True)
    async with bench.working():
        await bench.runtime.began.wait()
        await bench.pass_time(5)
        stored = bench.results.objects[key_of(bench)]
        facts = facts_of(stored.data)
        assert (facts.media_type, facts.width, facts.height) == ("image/jpeg", 64, 48)
        assert stored.media_type == "image/jpeg"
        assert (await bench.settled("order-1")).status == "completed"
        await bench.pass_time(5)
    assert left(bench) == []


async def test_previews_are_written_no_oftener_than_the_operator_allows() -> None:
    bench = watched(preview_interval=5.0)
    bench.runtime.script("order-1", showing([PICTURE] * 99, every=0.2))
    await bench.publish("order-1", previews=True)
    async with bench.working():
        await bench.settled("order-1")
    assert len(writes(bench)) == 4, "in almost 20 seconds"


@pytest.mark.parametrize(
    ("asked", "interval"), [({}, 2.0), ({"previews": False}, 2.0), ({"previews": True}, None)]
)
async def test_nothing_is_written_where_nobody_asks_or_the_operator_does_not_allow_it(
    asked: dict[str, Any], interval: float | None
) -> None:
    bench = watched(preview_interval=interval, progress_interval=1.0)
    wanted: list[bool] = []
    run = showing([PICTURE] * 5)

    async def behave(prepared: Prepared, report: ProgressCallback) -> Output:
        wanted.append(prepared.job.wants_previews)
        return await run(prepared, report)

    bench.runtime.script("order-1", behave)
    await bench.publish("order-1", **asked)
    async with bench.working():
        await bench.settled("order-1")
    assert wanted == [False], "the runtime is not asked for them either"
    assert writes(bench) == []
    deleted = [call for call in bench.cloud.calls if call.subject.endswith(".preview")]
    assert deleted == []
    assert {one.preview for one in bench.heard} == {None}


async def test_subscribers_to_progress_are_told_where_the_preview_lies() -> None:
    bench = watched(progress_interval=1.0)
    bench.runtime.script("order-1", showing([PICTURE] * 5))
    await bench.publish("order-1", previews=True)
    async with bench.working():
        await bench.settled("order-1")
    told = [one.preview for one in bench.heard if one.status == "running"]
    assert told[0] is None
    places = {one.url for one in told if one}
    assert places == {bench.results.url(key_of(bench))}
    assert [one.number for one in told if one][-1] == len(writes(bench))
    ended = bench.heard[-1]
    assert (ended.status, ended.preview) == ("completed", None)
    assert "preview" not in bench.topic.published[-1].body


async def test_a_preview_is_told_of_once_it_is_written_and_not_at_the_next_step() -> None:
    bench = watched(progress_interval=1.0)
    shown = showing([PICTURE], every=20.0)

    async def late(prepared: Prepared, report: ProgressCallback) -> Output:
        await asyncio.sleep(5.0)  # so that a report is told at once, before the preview is written
        return await shown(prepared, report)

    bench.runtime.script("order-1", late)
    await bench.publish("order-1", previews=True)
    async with bench.working():
        await bench.runtime.began.wait()
        await bench.pass_time(10)
        assert [one.preview.number for one in bench.heard if one.preview] == [1]


HOSTILE = {
    "nothing": b"",
    "text": b"not an image",
    "a GIF": encoded(Image.new("RGB", (8, 8)), "GIF"),
    "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a signature alone": b"\x89PNG\r\n\x1a\n",
    "a PNG cut off": sample_png(64, 64)[:60],
    "a bomb": b"\x89PNG\r\n\x1a\n"
    + (head := b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)).join(
        (struct.pack(">I", 13), struct.pack(">I", zlib.crc32(head)))
    ),
    "millions of pixels": encoded(Image.new("1", (5000, 4000))),
    "megabytes": sample_png(8, 8) + bytes(17 * 2**20),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_bytes_that_are_no_image_are_not_shown_and_no_fault_of_the_job(name: str) -> None:
    with pytest.raises(UnreadableImage):
        small_preview(HOSTILE[name])
    bench = watched()
    bench.runtime.script("order-1", showing([HOSTILE[name]] * 3))
    await bench.publish("order-1", previews=True)
    async with bench.working():
        assert (await bench.settled("order-1")).status == "completed"
    assert writes(bench) == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(1, 1), (2048, 1024), (300, 1500)])
async def test_whatever_the_runtime_gives_the_preview_is_small(
    kind: str, size: tuple[int, int]
) -> None:
    noise = Image.effect_noise(size, 200).convert("RGB")
    made = small_preview(encoded(noise, kind))
    facts = facts_of(made)
    assert facts.media_type == "image/jpeg"
    assert max(facts.width or 0, facts.height or 0) <= min(PREVIEW_SIDE, max(size))
    assert len(made) <= LARGEST_PREVIEW


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
async def test_an_image_of_any_mode_can_be_shown(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert small_preview(encoded(Image.new(mode, (600, 20)), kind)).startswith(b"\xff\xd8\xff")


async def test_noise_of_the_largest_size_has_no_more_bytes_than_allowed() -> None:
    channels = [Image.effect_noise((PREVIEW_SIDE, PREVIEW_SIDE), 250) for _ in "RGB"]
    assert len(small_preview(encoded(Image.merge("RGB", channels)))) <= LARGEST_PREVIEW


@pytest.mark.parametrize("operation", ["bucket.write", "bucket.delete"])
async def test_a_bucket_that_takes_no_preview_holds_nothing_up(operation: str) -> None:
    bench = watched()
    fail = partial(bench.cloud.faults.fail, times=math.inf, matching=".preview")
    fail(operation, Unavailable("no rights"))  # type: ignore[arg-type]
    bench.runtime.script("order-1", showing([PICTURE] * 10))
    await bench.publish("order-1", previews=True)
    async with bench.working():
        ended = await bench.settled("order-1")
    assert ended.status == "completed"
    assert ended.timings.run == pytest.approx(10.0)
    assert ended.warnings == []


async def test_a_write_under_way_at_the_end_does_not_come_after_the_removal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = watched()
    put, late = bench.results.write, list[asyncio.Task[None]]()

    async def write(key: str, data: Any, **options: Any) -> None:
        """As stores do: what they have heard of they end, whoever waits for it."""
        if not key.endswith(".preview"):
            return await put(key, data, **options)
        late.append(asyncio.create_task(_after(2.0, put(key, data, **options))))
        await asyncio.shield(late[-1])
        return None

    monkeypatch.setattr(bench.results, "write", write)
    bench.runtime.script("order-1", showing([PICTURE]))
    await bench.publish("order-1", previews=True)
    async with bench.working():
        assert (await bench.settled("order-1")).status == "completed"
        await bench.pass_time(5)
    assert [task.done() for task in late] == [True]
    assert left(bench) == []


async def _after(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    await asyncio.sleep(seconds)
    await work


async def test_a_write_that_never_ends_is_given_up() -> None:
    bench = watched()
    bench.cloud.faults.hold("bucket.write", matching=".preview")
    bench.runtime.script("order-1", showing([PICTURE]))
    await bench.publish("order-1", previews=True)
    async with bench.working():
        await bench.settled("order-1")
    assert left(bench) == []


@pytest.mark.parametrize("ending", [Rejected("no"), Unavailable("not now"), RunLost("gone")])
async def test_nothing_is_left_of_a_job_that_fails(ending: Exception) -> None:
    bench = watched()
    bench.runtime.script("order-1", showing([PICTURE] * 3, ending=ending))
    await bench.publish("order-1", previews=True)
    async with bench.working():
        await bench.settled("order-1")
    assert writes(bench)
    assert left(bench) == []


async def test_what_an_agent_that_was_killed_has_left_goes_with_the_next_delivery() -> None:
    bench = watched()
    await bench.publish("order-1", previews=True)
    (message,) = await bench.queue.receive(1, wait=0, visibility_timeout=1.0)
    assert message.receive_count == 1
    await bench.results.write(key_of(bench), PICTURE, media_type="image/jpeg")
    bench.runtime.script("order-1", showing([]))
    async with bench.working():
        await bench.settled("order-1")
        await bench.pass_time(1)
    assert left(bench) == []


async def test_a_job_given_back_takes_its_preview_with_it() -> None:
    bench = watched(grace=1.0)
    bench.runtime.script("order-1", showing([PICTURE] * 100))
    await bench.publish("order-1", previews=True)
    async with bench.working():
        await bench.runtime.began.wait()
        await bench.pass_time(5)
        assert left(bench)
    assert bench.told("order-1") == []
    assert left(bench) == []


async def test_previews_change_no_result() -> None:
    bench = watched()
    asked = parse_job(bench.body("order-1", previews=True))
    silent = parse_job(bench.body("order-1"))
    assert asked.digest == silent.digest
