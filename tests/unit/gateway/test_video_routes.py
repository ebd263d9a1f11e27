"""The routes of the OpenAI Videos API, before a worker on a cloud in memory."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any, ClassVar, Final

import httpx
import pytest
from fastapi import FastAPI

from gateway_bench import Gateways, client_of
from media_files import image
from queue_agent.media.asset import Asset
from queue_agent.media.video_facts import VideoFacts
from queue_agent.media.videos import Video
from queue_agent.outputs import description
from queue_agent.runtime import (
    Artifact,
    Assets,
    Output,
    Prepared,
    Progress,
    ProgressCallback,
)
from queue_agent.testing import sample_png
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent.wire.layout import offer_key
from queue_agent.wire.offer import Offer
from queue_agent.wire.video_and_mesh import VIDEO_TASKS
from video_files import video
from worker_bench import NAME, Behaviour, Bench, ScriptedRuntime, failing

VIDEOS: Final = "/v1/videos"
PNG: Final = sample_png(64, 48)
ENCODED: Final = base64.b64encode(PNG).decode()
FILM: Final = video()
POSTER: Final = image("JPEG")
FACTS: Final = VideoFacts(width=64, height=48, duration=1.5, frames=12, fps=8, codec="h264")


class Filming(ScriptedRuntime):
    """Makes the same film of each job."""

    task_types: ClassVar[frozenset[str]] = VIDEO_TASKS | {"pipeline"}

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        del assets
        return Prepared(job, {})


def filming(media_type: str = "video/mp4", data: bytes = FILM) -> Behaviour:
    async def make(_: Prepared, report: ProgressCallback) -> Output:
        report(Progress(0.5))
        return Output((Artifact(data, media_type, seed=7),))

    return make


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads videos elsewhere, by a process."""

    async def read(asset: Asset, media_type: str) -> Video:
        assert asset.size
        assert media_type.startswith("video/")
        return Video(FACTS, POSTER)

    monkeypatch.setattr(description, "read_video", read)


@pytest.fixture
def bench(gateways: Gateways) -> Bench:
    made = Bench()
    made.runtime = Filming()
    made.runtime.usually = filming()
    gateways.cloud = made.cloud
    return made


async def started(gateways: Gateways, bench: Bench, **settings: Any) -> FastAPI:
    bucket = gateways.cloud.bucket(bench.deployment.bucket)
    offers = {"images": frozenset({"text-to-image"}), NAME: Filming.task_types}
    for name, task_types in offers.items():
        offer = Offer(runtime=name, adapter="scripted", task_types=tuple(task_types))
        await bucket.write(offer_key(name), offer.to_json(), media_type="application/json")
    usual: dict[str, Any] = {
        "job_topic": bench.deployment.job_topic,
        "notification_topic": bench.deployment.notification_topic,
        "bucket": bench.deployment.bucket,
        "runtimes": ("images", NAME),
        "models": (f"sora-2={NAME}", f"wan={NAME}:wan-2.2", "pictures=images"),
        "poll": 0.05,
    }
    return await gateways.start(**usual | settings)


@pytest.fixture
async def door(gateways: Gateways, bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    """A client where nobody works."""
    async with client_of(await started(gateways, bench)) as client:
        yield client


@pytest.fixture
async def api(gateways: Gateways, bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    """A client before an agent that makes a film of each job."""
    async with client_of(await started(gateways, bench)) as client, bench.working():
        yield client


def published(bench: Bench) -> dict[str, Any]:
    """The last job."""
    job: dict[str, Any] = json.loads(
        bench.cloud.topic(bench.deployment.job_topic).published[-1].body
    )
    return job


async def ended(client: httpx.AsyncClient, video_id: str) -> dict[str, Any]:
    await client.post(f"/v1/jobs/{video_id}/wait")
    shown: dict[str, Any] = (await client.get(f"{VIDEOS}/{video_id}")).json()
    return shown


async def made(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """A video at its end."""
    answer = await client.post(VIDEOS, json={"prompt": "a lighthouse", **fields})
    assert answer.status_code == 200, answer.text
    return await ended(client, answer.json()["id"])


def fault(answer: httpx.Response) -> tuple[int, str | None]:
    """Its status, and the field that is wrong."""
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return answer.status_code, error["param"]


# what a job says


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"seconds": "4"}, {"seconds": 4}),
        ({"seconds": 2.5}, {"seconds": 2.5}),
        ({"size": "1280x720"}, {"width": 1280, "height": 720}),
        ({"size": "auto", "seconds": None, "input_reference": None}, {}),
        (
            {"num_frames": 81, "num_inference_steps": 20, "guidance_scale": 5, "fps": 16},
            {"frames": 81, "steps": 20, "guidance_scale": 5, "fps": 16},
        ),
        ({"cfg_scale": 5}, {"guidance_scale": 5}),
        ({"frames": 81, "num_frames": 81}, {"frames": 81}),
        ({"seed": 7, "negative_prompt": "blue", "odd": 1}, {"seed": 7, "negative_prompt": "blue",
                                                            "odd": 1}),
        ({"model": "sora-2"}, {}),
        ({"model": "wan"}, {"model": "wan-2.2"}),
        ({"model": "unknown"}, {"model": "unknown"}),
    ],
)  # fmt: skip
async def test_its_fields_are_those_of_the_portable_form(
    door: httpx.AsyncClient, bench: Bench, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    answer = await door.post(VIDEOS, json={"prompt": "a lighthouse", **fields})
    assert answer.status_code == 200, answer.text
    job = published(bench)
    assert job["content"] == {"prompt": "a lighthouse", **expected}
    assert (job["metadata"]["tasktype"], job["metadata"]["runtime"]) == ("text-to-video", NAME)


@pytest.mark.parametrize(
    "fields",
    [
        {"input_reference": f"data:image/png;base64,{ENCODED}"},
        {"input_reference": {"image_url": f"data:image/png;base64,{ENCODED}"}},
        {"image_reference": {"image_url": f"data:image/png;base64,{ENCODED}"}},
        {"reference_url": f"data:image/png;base64,{ENCODED}"},
        {"first_frame": f"data:image/png;base64,{ENCODED}"},
    ],
)
async def test_an_image_in_json_is_the_first_frame(
    door: httpx.AsyncClient, bench: Bench, fields: dict[str, Any]
) -> None:
    answer = await door.post(VIDEOS, json={"prompt": "a", **fields})
    assert answer.status_code == 200, answer.text
    job = published(bench)
    assert job["content"] == {"prompt": "a", "first_frame": f"data:image/png;base64,{ENCODED}"}
    assert job["metadata"]["tasktype"] == "image-to-video"


async def test_a_form_says_the_same_with_a_file(door: httpx.AsyncClient, bench: Bench) -> None:
    texts = {"prompt": "12", "seconds": "4", "size": "64x48", "fps": "8", "model": "wan",
             "num_frames": "32", "guidance_scale": "1.5", "user": "u-1"}  # fmt: skip
    file = {"input_reference": ("a.png", PNG, "image/png")}
    answer = await door.post(VIDEOS, data=texts, files=file)
    assert answer.status_code == 200, answer.text
    job = published(bench)
    assert job["content"] == {
        "prompt": "12", "seconds": 4, "width": 64, "height": 48, "fps": 8, "frames": 32,
        "model": "wan-2.2", "guidance_scale": 1.5, "first_frame": ENCODED,
    }  # fmt: skip
    assert job["metadata"]["context"] == {"user": "u-1"}


@pytest.mark.parametrize("name", ["input_reference", "image_reference"])
@pytest.mark.parametrize("form", ["{}[image_url]", "{}"])
async def test_a_form_may_give_an_address(
    door: httpx.AsyncClient, bench: Bench, form: str, name: str
) -> None:
    url = "https://example.com/a.png"
    field = form.format(name)
    value = url if "[" in field else json.dumps({"image_url": url})
    answer = await door.post(VIDEOS, files={"prompt": (None, "a"), field: (None, value)})
    assert answer.status_code == 200, answer.text
    assert published(bench)["content"]["first_frame"] == url


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"seconds": "long"}, "seconds"),
        ({"seconds": -1}, "seconds"),
        ({"size": "big"}, "size"),
        ({"size": "64x64", "width": 128}, "width"),
        ({"frames": 3, "num_frames": 4}, "num_frames"),
        ({"input_reference": {"file_id": "file-1"}}, "input_reference"),
        ({"input_reference": {"image_url": 3}}, "input_reference"),
        ({"image_reference": {}}, "image_reference"),
        ({"model": "pictures"}, "model"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_its_name(
    door: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    answer = await door.post(VIDEOS, json={"prompt": "a", **fields})
    assert fault(answer) == (400, param)


async def test_files_of_openai_are_said_to_be_none_of_ours(door: httpx.AsyncClient) -> None:
    body = {"prompt": "a", "input_reference": {"file_id": "file-1"}}
    answer = await door.post(VIDEOS, json=body)
    assert "no files are kept here" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("name", "data"),
    [("input_reference", FILM), ("input_reference", b"nothing"), ("video", PNG)],
)
async def test_a_file_that_is_no_picture_is_refused(
    door: httpx.AsyncClient, name: str, data: bytes
) -> None:
    answer = await door.post(VIDEOS, data={"prompt": "a"}, files={name: ("a", data)})
    assert fault(answer) == (400, name)


async def test_a_runtime_may_be_named_that_makes_videos_and_no_other(
    door: httpx.AsyncClient,
) -> None:
    body = {"prompt": "a"}
    assert (await door.post(VIDEOS, json=body, headers={"X-Runtime": NAME})).status_code == 200
    answer = await door.post(VIDEOS, json=body, headers={"X-Runtime": "images"})
    assert fault(answer) == (400, "model")
    answer = await door.post(VIDEOS, json=body, headers={"X-Runtime": "nobody"})
    assert answer.status_code == 400


# how it stands


async def test_a_job_that_waits_is_queued(door: httpx.AsyncClient) -> None:
    answer = await door.post(VIDEOS, json={"prompt": "a", "seconds": "4", "size": "64x48"})
    shown = answer.json()
    assert answer.headers["x-job-id"] == shown["id"]
    assert shown.pop("created_at") > 1.7e9
    assert shown.pop("id")
    assert shown == {
        "object": "video", "model": NAME, "status": "queued", "progress": 0, "completed_at": None,
        "expires_at": None, "prompt": "a", "seconds": "4", "size": "64x48",
        "remixed_from_video_id": None, "error": None, "warnings": [],
    }  # fmt: skip


async def test_one_that_is_done_tells_what_was_made(api: httpx.AsyncClient) -> None:
    shown = await made(api, model="wan")
    assert (shown["status"], shown["progress"], shown["error"]) == ("completed", 100, None)
    assert (shown["seconds"], shown["size"], shown["model"]) == ("1.5", "64x48", "wan-2.2")
    assert shown["completed_at"] >= shown["created_at"]


@pytest.mark.parametrize(
    ("kind", "code"),
    [("runtime_rejected", "runtime_rejected"), ("withheld", "content_policy_violation")],
)
async def test_one_that_is_refused_has_failed_with_the_reason(
    api: httpx.AsyncClient, bench: Bench, kind: str, code: str
) -> None:
    bench.runtime.usually = failing(Rejected("Too long.", type=kind), after=0)
    shown = await made(api)
    assert (shown["status"], shown["progress"]) == ("failed", 0)
    assert shown["error"] == {"code": code, "message": "Too long."}


async def test_one_that_is_called_off_has_failed_as_cancelled(door: httpx.AsyncClient) -> None:
    video_id = (await door.post(VIDEOS, json={"prompt": "a"})).json()["id"]
    answer = await door.delete(f"{VIDEOS}/{video_id}")
    assert answer.json() == {"id": video_id, "object": "video.deleted", "deleted": True}
    assert (await door.get(f"{VIDEOS}/{video_id}")).json()["status"] == "in_progress"
    assert (await door.get(f"/v1/jobs/{video_id}")).json()["status"] == "cancelling"


async def test_one_that_has_ended_stays(api: httpx.AsyncClient) -> None:
    shown = await made(api)
    answer = await api.delete(f"{VIDEOS}/{shown['id']}")
    assert answer.json()["deleted"] is False
    assert (await api.get(f"{VIDEOS}/{shown['id']}/content")).content == FILM


# its file


async def test_the_film_comes_whole_and_in_parts(api: httpx.AsyncClient) -> None:
    path = f"{VIDEOS}/{(await made(api))['id']}/content"
    whole = await api.get(path)
    assert (whole.status_code, whole.content) == (200, FILM)
    assert whole.headers["content-type"] == "video/mp4"
    part = await api.get(path, headers={"Range": "bytes=4-7", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, b"ftyp")
    behind = await api.get(path, headers={"Range": f"bytes={len(FILM)}-"})
    assert (fault(behind)[0], behind.headers["content-range"]) == (416, f"bytes */{len(FILM)}")


async def test_its_thumbnail_is_the_poster(api: httpx.AsyncClient) -> None:
    path = f"{VIDEOS}/{(await made(api))['id']}/content"
    answer = await api.get(path, params={"variant": "thumbnail"})
    assert (answer.content, answer.headers["content-type"]) == (POSTER, "image/jpeg")
    assert (await api.get(path, params={"variant": "spritesheet"})).status_code == 404
    assert (await api.get(path, params={"variant": "odd"})).status_code == 400


async def test_before_it_is_there_it_is_not_found(door: httpx.AsyncClient) -> None:
    video_id = (await door.post(VIDEOS, json={"prompt": "a"})).json()["id"]
    answer = await door.get(f"{VIDEOS}/{video_id}/content")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_ready")
    assert answer.headers.get("x-should-retry") is None


async def test_a_job_that_made_none_has_none(api: httpx.AsyncClient, bench: Bench) -> None:
    bench.runtime.usually = filming("image/png", PNG)
    path = f"{VIDEOS}/{(await made(api))['id']}/content"
    answer = await api.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_such_file")


async def test_a_workflow_that_made_a_video_is_looked_at_here_too(
    api: httpx.AsyncClient,
) -> None:
    body = {
        "metadata": {"tasktype": "pipeline", "runtime": NAME},
        "content": {"prompt": {"1": {"class_type": "A", "inputs": {}}}},
    }
    job_id = (await api.post("/v1/jobs", json=body)).json()["id"]
    assert (await ended(api, job_id))["status"] == "completed"
    assert (await api.get(f"{VIDEOS}/{job_id}/content")).content == FILM


async def test_jobs_for_images_are_no_videos(door: httpx.AsyncClient) -> None:
    body = {"metadata": {"runtime": "images"}, "content": {"prompt": "a"}}
    job_id = (await door.post("/v1/jobs", json=body)).json()["id"]
    for path in (f"{VIDEOS}/{job_id}", f"{VIDEOS}/{job_id}/content", f"{VIDEOS}/nothing"):
        assert (await door.get(path)).status_code == 404
    assert (await door.delete(f"{VIDEOS}/{job_id}")).status_code == 404
    assert (await door.get(f"/v1/jobs/{job_id}")).json()["status"] == "queued"


# lists


async def test_videos_are_listed_page_by_page_and_nothing_else(door: httpx.AsyncClient) -> None:
    ids = []
    for number in range(5):
        ids.append((await door.post(VIDEOS, json={"prompt": f"{number}"})).json()["id"])
        body = {"metadata": {"runtime": "images"}, "content": {"prompt": "a"}}
        await door.post("/v1/jobs", json=body)
    found: list[str] = []
    after: dict[str, str] = {}
    more = True
    while more:
        page = (await door.get(VIDEOS, params={"limit": 2, **after})).json()
        assert page["object"] == "list"
        assert [page["first_id"], page["last_id"]] == [
            page["data"][0]["id"],
            page["data"][-1]["id"],
        ]
        found += [video["id"] for video in page["data"]]
        after, more = {"after": page["last_id"]}, page["has_more"]
    assert found == ids[::-1]


async def test_an_empty_list_is_one(door: httpx.AsyncClient) -> None:
    page = (await door.get(VIDEOS)).json()
    assert page == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False
    }  # fmt: skip
    assert fault(await door.get(VIDEOS, params={"order": "asc"})) == (400, "order")
    assert (await door.get(VIDEOS, params={"after": "nothing"})).status_code == 404


async def test_nobody_sees_anothers_videos(gateways: Gateways, bench: Bench) -> None:
    app = await started(gateways, bench, keys=True)
    async with client_of(app, "one") as one, client_of(app, "two") as two:
        video_id = (await one.post(VIDEOS, json={"prompt": "a"})).json()["id"]
        for answer in (
            await two.get(f"{VIDEOS}/{video_id}"),
            await two.get(f"{VIDEOS}/{video_id}/content"),
            await two.delete(f"{VIDEOS}/{video_id}"),
            await two.get(VIDEOS, params={"after": video_id}),
        ):
            assert answer.status_code == 404
        assert (await two.get(VIDEOS)).json()["data"] == []
        assert (await one.get(f"{VIDEOS}/{video_id}")).json()["status"] == "queued"
