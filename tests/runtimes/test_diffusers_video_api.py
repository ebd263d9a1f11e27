"""Videos over the bundled runtime's HTTP side: records, files, refusals."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from diffusers_servers import FilmingModel, engine_of, tiny_video_server
from harness import PATIENCE
from queue_agent.testing import eventually, sample_png
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.jobs import EngineJob
from queue_agent_diffusers.engine.requests import Clip, ImageRequest, Pictures
from queue_agent_diffusers.errors import JobNotFound
from queue_agent_diffusers.http import video_routes
from queue_agent_diffusers.http.app import create_app
from queue_agent_diffusers.http.metrics import EngineMetrics
from queue_agent_diffusers.http.video_jobs import KEPT_FOR, MOST_KEPT, VideoJobs
from queue_agent_diffusers.torch.video_file import write_video

VIDEOS = "/v1/videos"
WAVES: dict[str, Any] = {"prompt": "waves", "num_inference_steps": "4", "seed": "7"}
PNG = sample_png()


@asynccontextmanager
async def filming(model: FilmingModel) -> AsyncIterator[tuple[httpx.AsyncClient, Engine]]:
    """A client of the server around the model, and its engine."""
    engine = engine_of(model)
    engine.start()
    transport = httpx.ASGITransport(create_app(engine))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        await eventually(lambda: engine.ready)
        try:
            yield client, engine
        finally:
            model.open = True
            model.may_finish.set()
            model.gate.release(1000)
            await asyncio.to_thread(engine.close)


async def ended(client: httpx.AsyncClient, video_id: str) -> dict[str, Any]:
    """The record of a video that has been made, or has failed."""
    record: dict[str, Any] = {}

    async def has_ended() -> bool:
        record.update((await client.get(f"{VIDEOS}/{video_id}")).json())
        return record["status"] in {"completed", "failed"}

    await eventually(has_ended)
    return record


def sizes_of(video: bytes) -> list[tuple[int, int]]:
    with av.open(io.BytesIO(video), "r") as played:
        return [(frame.width, frame.height) for frame in played.decode(video=0)]


async def test_a_video_is_followed_by_its_record_until_its_file_can_be_fetched() -> None:
    model = FilmingModel()
    model.open = False
    async with filming(model) as (client, _):
        asked = {**WAVES, "num_frames": "5", "fps": "10", "size": "64x72", "style": "oil"}
        answer = await client.post(VIDEOS, data=asked, headers={"X-Request-Id": "one"})
        record = answer.json()
        assert (record["id"], record["object"], record["model"]) == ("one", "video", "scripted")
        assert record["status"] in {"queued", "in_progress"}
        assert (await client.get(f"{VIDEOS}/one/content")).status_code == 404
        model.gate.release(2)

        async def half_way() -> bool:
            record.update((await client.get(f"{VIDEOS}/one")).json())
            return bool(record["progress"] == 50)

        await eventually(half_way)
        assert record["status"] == "in_progress"
        model.gate.release(2)
        record = await ended(client, "one")
        assert (record["status"], record["progress"], record["error"]) == ("completed", 100, None)
        shape = [record[name] for name in ("size", "frames", "fps", "seconds", "seed")]
        assert shape == ["64x48", 5, 10, "0.5", 7]
        assert record["completed_at"] >= record["created_at"]
        assert record["expires_at"] == record["completed_at"] + KEPT_FOR
        assert [warning.split(":")[0] for warning in record["warnings"]] == ["style", "frames"]
        content = await client.get(f"{VIDEOS}/one/content")
        assert content.headers["content-type"] == "video/mp4"
        assert int(content.headers["content-length"]) == len(content.content)
        assert sizes_of(content.content) == [(64, 48)] * 5
        listed = (await client.get(VIDEOS)).json()["data"]
        assert [one["id"] for one in listed] == ["one"]


async def test_several_videos_of_a_request_are_files_with_numbers() -> None:
    async with filming(FilmingModel()) as (client, _):
        answer = await client.post(VIDEOS, json={"prompt": "waves", "n": 2, "seed": 7})
        record = await ended(client, answer.json()["id"])
        assert record["num_outputs"] == 2
        content = f"{VIDEOS}/{record['id']}/content"
        plain, first, second, third = [
            await client.get(content, params=params)
            for params in ({}, {"variant": "0"}, {"variant": "1"}, {"variant": "2"})
        ]
        assert plain.content == first.content != second.content
        assert third.status_code == 422
        assert "2 videos" in third.json()["error"]["message"]


async def test_a_part_of_a_video_is_sent_where_a_player_asks_for_one() -> None:
    async with filming(FilmingModel()) as (client, _):
        record = (await client.post(VIDEOS, data={**WAVES, "n": "2"})).json()
        await ended(client, record["id"])
        content = f"{VIDEOS}/{record['id']}/content"
        whole = await client.get(content)
        size, tag = len(whole.content), whole.headers["etag"]
        assert (whole.headers["accept-ranges"], whole.headers["content-length"]) == (
            "bytes",
            str(size),
        )
        for asked, first, last in (
            ("bytes=0-0", 0, 0),
            ("bytes=10-", 10, size - 1),
            ("bytes=-5", size - 5, size - 1),
            (f"bytes=3-{9 * size}", 3, size - 1),
        ):
            part = await client.get(content, headers={"Range": asked, "If-Range": tag})
            assert (part.status_code, part.content) == (206, whole.content[first : last + 1])
            assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
            assert part.headers["content-length"] == str(last + 1 - first)
        other = await client.get(content, params={"variant": "1"}, headers={"If-None-Match": tag})
        assert other.status_code == 200, "another file"
        stale = {"Range": "bytes=0-1", "If-Range": other.headers["etag"]}
        assert (await client.get(content, headers=stale)).content == whole.content
        beyond = await client.get(content, headers={"Range": f"bytes={size}-"})
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
        assert beyond.json()["error"]["code"] == "no_such_part"
        known = await client.get(content, headers={"If-None-Match": tag})
        assert (known.status_code, known.content) == (304, b"")


async def test_a_deleted_video_stops_at_its_next_step_and_others_go_on() -> None:
    model = FilmingModel()
    model.open = False
    async with filming(model) as (client, engine):
        for name in ("one", "other"):
            await client.post(VIDEOS, data=WAVES, headers={"X-Request-Id": name})
        model.gate.release(1)
        await eventually(lambda: engine.find("one").step == 1)
        deleting = asyncio.create_task(client.delete(f"{VIDEOS}/one"))

        async def stopped() -> bool:
            model.gate.release(1)
            return deleting.done()

        await eventually(stopped)
        assert deleting.result().json() == {
            "id": "one",
            "object": "video.deleted",
            "deleted": True,
        }
        assert (await client.get(f"{VIDEOS}/one")).status_code == 404
        assert engine.find("one").state == "cancelled"
        model.gate.release(4)
        assert (await ended(client, "other"))["status"] == "completed"
        assert (await client.delete(f"{VIDEOS}/other")).json()["deleted"]
        assert (await client.get(f"{VIDEOS}/other/content")).status_code == 404


async def test_a_video_whose_frames_are_being_encoded_is_deleted_when_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(video_routes, "STOPS_WITHIN", 0.0)
    model = FilmingModel()
    model.may_finish.clear()
    async with filming(model) as (client, engine):
        await client.post(VIDEOS, data=WAVES, headers={"X-Request-Id": "one"})
        await eventually(lambda: engine.find("one").step == 4)
        answer = await client.delete(f"{VIDEOS}/one")
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "still_stopping"
        assert "retry-after" in answer.headers
        model.may_finish.set()
        await ended(client, "one")
        assert (await client.delete(f"{VIDEOS}/one")).status_code == 200


async def test_a_deleted_video_whose_frames_wait_for_others_is_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(video_routes, "STOPS_WITHIN", 0.0)
    model = FilmingModel()
    model.may_finish.clear()
    async with filming(model) as (client, engine):
        for name in ("one", "other"):
            await client.post(VIDEOS, data=WAVES, headers={"X-Request-Id": name})
        await eventually(lambda: {engine.find(name).step for name in ("one", "other")} == {4})
        assert (await client.delete(f"{VIDEOS}/other")).status_code == 409
        model.may_finish.set()
        record = await ended(client, "other")
        assert (record["status"], record["error"]["type"]) == ("failed", "cancelled")
        assert (await ended(client, "one"))["status"] == "completed"


async def test_a_failed_video_says_why_in_its_record() -> None:
    async with filming(FilmingModel()) as (client, _):
        answer = await client.post(VIDEOS, data={**WAVES, "prompt": "huge"})
        record = await ended(client, answer.json()["id"])
        assert record["status"] == "failed"
        assert (record["error"]["code"], record["error"]["type"]) == (413, "out_of_memory")
        assert "fit" in record["error"]["message"]


class Watching(FilmingModel):
    """Keeps the requests that it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[ImageRequest] = []

    def check(self, request: ImageRequest) -> None:
        self.seen.append(request)


@pytest.mark.parametrize(
    ("names", "has_last"),
    [
        (["input_reference"], False),
        (["input_reference", "last_frame"], True),
        (["input_references", "input_references"], True),
        (["input_references"], False),
        (["input_reference[]"], False),
    ],
)
async def test_a_video_begins_and_ends_with_the_images_of_the_form(
    names: list[str], *, has_last: bool
) -> None:
    model = Watching()
    async with filming(model) as (client, _):
        files = [(name, ("a.png", PNG, "image/png")) for name in names]
        answer = await client.post(VIDEOS, data=WAVES, files=files)
        assert answer.status_code == 200, answer.text
        request = model.seen[0]
        assert request.image is not None
        assert request.clip is not None
        assert (request.clip.last_frame is not None) == has_last
        assert request.width is None


@pytest.mark.parametrize(
    ("fields", "files", "param"),
    [
        ({"prompt": "waves", "num_frames": "0"}, {}, "num_frames"),
        ({"prompt": "waves", "fps": "many"}, {}, "fps"),
        ({"prompt": "waves", "seconds": "-1"}, {}, "seconds"),
        ({"prompt": "waves", "size": "65x64"}, {}, "size"),
        ({"fps": "8"}, {}, "prompt"),
        (WAVES, {"input_reference": b"no image"}, "input_reference"),
        (WAVES, {"last_frame": PNG}, "last_frame"),
        (WAVES, {"input_reference": PNG, "input_references": PNG}, "input_reference"),
        ({**WAVES, "input_reference": "https://example.com/a.png"}, {}, "input_reference"),
    ],
)
async def test_a_faulty_field_of_a_video_is_refused_by_its_name(
    fields: Mapping[str, str], files: Mapping[str, bytes], param: str
) -> None:
    async with filming(FilmingModel()) as (client, _):
        answer = await client.post(VIDEOS, data=dict(fields), files=dict(files))
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == param
        assert (await client.get(VIDEOS)).json()["data"] == []


async def test_images_do_not_come_in_json() -> None:
    async with filming(FilmingModel()) as (client, _):
        body = {"prompt": "waves", "input_reference": "iVBORw0KGgo="}
        answer = await client.post(VIDEOS, json=body)
        assert answer.status_code == 422
        assert "form" in answer.json()["error"]["message"]


def test_videos_that_ended_are_forgotten_in_time_and_when_there_are_too_many() -> None:
    now = 1000.0
    jobs = VideoJobs(lambda: now)

    def add(name: str) -> EngineJob:
        job = EngineJob(name, ImageRequest("waves", seed=1))
        jobs.add(job, "scripted", [])
        return job

    running, first = add("running"), add("first")
    first.finish(Pictures([], (), (write_video([Image.new("RGB", (16, 16))], 8),)))
    now += KEPT_FOR - 1
    for number in range(MOST_KEPT - 1):
        add(f"job-{number}").finish(Pictures([]))
    assert len(list(jobs)) == MOST_KEPT + 1
    assert jobs.find("first").video(None).frames == 1
    add("one more").finish(Pictures([]))
    with pytest.raises(JobNotFound):
        jobs.find("first")
    now += KEPT_FOR + 1
    assert [one.job for one in jobs] == [running]


async def test_a_model_for_videos_makes_them_and_refuses_images_in_words() -> None:
    with tiny_video_server() as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
            asked = {**WAVES, "num_inference_steps": "2", "size": "64x64", "seconds": "0.2"}
            answer = await client.post(VIDEOS, data=asked)
            record = await ended(client, answer.json()["id"])
            assert (record["status"], record["frames"], record["fps"]) == ("completed", 5, 24)
            content = await client.get(f"{VIDEOS}/{record['id']}/content")
            assert sizes_of(content.content) == [(64, 64)] * 5
            for path, fields, words in (
                ("/v1/images/generations", {"prompt": "x"}, "makes videos"),
                (VIDEOS, {"prompt": "x", "size": "72x64"}, "multiples of 16"),
            ):
                answer = await client.post(path, json=fields)
                assert answer.status_code == 422
                assert words in answer.json()["error"]["message"]


async def test_videos_are_not_counted_as_images() -> None:
    metrics = EngineMetrics()
    engine = engine_of(FilmingModel(), observer=metrics)
    engine.start()
    try:
        await eventually(lambda: engine.ready)
        for name, clip in (("an image", None), ("two videos", Clip())):
            asked = ImageRequest("waves", seed=1, count=2 if clip else 1, clip=clip)
            await asyncio.wrap_future(engine.submit(name, asked).result)
    finally:
        await asyncio.to_thread(engine.close)
    page = metrics.page().decode().splitlines()
    assert {"diffusers_images_total 1.0", "diffusers_videos_total 2.0"} <= set(page)
