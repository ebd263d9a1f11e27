"""Videos in the bucket: what is told of them, and their posters beside them."""

import asyncio
from pathlib import Path

import pytest

from media_files import image
from queue_agent.client import Client
from queue_agent.media.asset import Asset
from queue_agent.media.video_facts import VideoFacts
from queue_agent.media.videos import Video
from queue_agent.outputs import description
from queue_agent.runtime import Artifact, Output, Prepared, ProgressCallback
from queue_agent.testing import sample_png
from queue_agent.wire.notification import Notification
from video_files import video
from worker_bench import RUN, Behaviour, Bench

pytestmark = pytest.mark.looptime

PNG = sample_png(8, 8)
FACTS = VideoFacts(width=64, height=48, duration=1.5, frames=12, fps=8.0, codec="h264")


POSTER = image("JPEG")


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads videos elsewhere, by a process."""

    async def read(asset: Asset, media_type: str) -> Video:
        await asyncio.sleep(0)
        assert asset.size
        return Video(FACTS, POSTER if media_type == "video/mp4" else None)

    monkeypatch.setattr(description, "read_video", read)


def giving(*artifacts: Artifact) -> Behaviour:
    async def behave(prepared: Prepared, report: ProgressCallback) -> Output:
        await asyncio.sleep(RUN)
        return Output(artifacts)

    return behave


async def told_of(bench: Bench, *artifacts: Artifact) -> Notification:
    bench.runtime.script("order-1", giving(*artifacts))
    await bench.publish("order-1")
    async with bench.working():
        return await bench.settled("order-1")


async def test_a_video_has_a_poster_beside_it_that_counts_as_no_output(bench: Bench) -> None:
    film, still = Artifact(video(), "video/mp4", seed=7), Artifact(PNG, "image/png")
    told = await told_of(bench, film, still)
    first, second, third = told.images
    assert (first.width, first.height, first.seed) == (64, 48, 7)
    assert (first.duration, first.frames, first.fps, first.codec) == (1.5, 12, 8.0, "h264")
    assert [image.role for image in told.images] == ["output", "output", "poster"]
    assert told.image_url == [first.url, second.url]
    assert told.made == [first, second]
    assert first.poster == third.url == first.url.removesuffix(".mp4") + "-poster.jpg"
    assert (third.media_type, third.width, third.height) == ("image/jpeg", 48, 32)
    stored = bench.results.objects[third.url.removeprefix(bench.results.url(""))]
    assert stored == (POSTER, "image/jpeg")
    assert third.bytes == len(POSTER)
    assert bench.manifests()[0].images == told.images


async def test_what_only_videos_have_is_not_told_of_images(bench: Bench) -> None:
    told = await told_of(bench, Artifact(PNG, "image/png"))
    body = bench.topic.published[-1].body
    assert told.images[0].poster is None
    assert not [name for name in ("duration", "frames", "fps", "codec", "poster") if name in body]


async def test_one_without_a_poster_is_stored_all_the_same(bench: Bench) -> None:
    told = await told_of(bench, Artifact(video("webm"), "video/webm"))
    (only,) = told.images
    assert (only.poster, only.duration) == (None, 1.5)


async def test_an_earlier_attempts_poster_stays_as_it_was(bench: Bench) -> None:
    write = bench.results.write
    told = await told_of(bench, Artifact(video(), "video/mp4"))
    key = told.images[1].url.removeprefix(bench.results.url(""))
    manifest = (told.output_url or "").removeprefix(bench.results.url(""))
    await bench.results.delete(manifest)
    await write(key, b"another attempt's", media_type="image/jpeg")
    bench.runtime.script("order-1", giving(Artifact(video(), "video/mp4")))
    await bench.publish("order-1")
    async with bench.working():
        await bench.pass_time(20 * RUN)
    (again,) = bench.manifests()
    assert bench.results.objects[key][0] == b"another attempt's"
    assert again.images[1].url != told.images[1].url
    assert again.images[0].poster == again.images[1].url


async def test_the_client_gives_what_was_made_and_no_posters(bench: Bench, tmp_path: Path) -> None:
    await told_of(bench, Artifact(video(), "video/mp4"), Artifact(PNG, "image/png"))
    async with Client(bench.cloud, bucket=bench.deployment.bucket) as client:
        job = client.job("order-1", prefix="out")
        assert await job.images() == [video(), PNG]
        saved = await job.save(tmp_path)
        assert [path.suffix for path in saved] == [".mp4", ".png"]
        assert len((await job.result()).images) == 3
