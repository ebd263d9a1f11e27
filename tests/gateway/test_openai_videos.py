"""OpenAI's own clients ask a gateway for videos, and fetch them."""

import asyncio
import base64
import io
import json
import os
import shutil
import socket
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar, Final

import openai
import pytest
import uvicorn
from PIL import Image

from gateway_bench import Gateways
from page_visit import PLAYWRIGHT
from queue_agent.gateway import app as gateway_app
from queue_agent.gateway.app import server_config
from queue_agent.runtime import Artifact, Assets, Output, Prepared, Progress, ProgressCallback
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.testing import sample_png
from queue_agent.wire.job import Job
from queue_agent.wire.layout import offer_key
from queue_agent.wire.offer import Offer
from queue_agent.wire.video_and_mesh import VIDEO_TASKS, parse_video
from video_files import SIZE, video
from worker_bench import NAME, Bench, ScriptedRuntime

SCRIPT: Final = Path(__file__).parent / "openai" / "videos.mjs"
PICTURE: Final = sample_png(64, 48)
FILM: Final = video()


class Filming(ScriptedRuntime):
    """Makes the same film of each job whose content is right, and keeps what was asked."""

    task_types: ClassVar[frozenset[str]] = VIDEO_TASKS

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        del assets
        parse_video(job.content, job.task_type)
        return Prepared(job, {})


async def film(_: Prepared, report: ProgressCallback) -> Output:
    report(Progress(0.5))
    return Output((Artifact(FILM, "video/mp4"),))


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """A gateway and an agent on a cloud in memory; `bench.url` is the gateway's address."""
    made = Bench()
    made.runtime = Filming()
    made.runtime.usually = film
    gateways = Gateways(tmp_path)
    gateways.cloud = made.cloud
    monkeypatch.setattr(gateway_app, "connect", lambda *_, **__: made.cloud)
    offer = Offer(runtime=NAME, adapter="scripted", task_types=tuple(VIDEO_TASKS))
    made.cloud.bucket(made.deployment.bucket).put(offer_key(NAME), offer.to_json())
    async with made.working():
        yield made


@pytest.fixture
async def url(bench: Bench, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a gateway before the agent, which is served for real."""
    app = Gateways(tmp_path).app(
        job_topic=bench.deployment.job_topic,
        notification_topic=bench.deployment.notification_topic,
        bucket=bench.deployment.bucket,
        runtimes=(NAME,),
        poll=0.05,
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings = GatewaySettings.model_construct(connections=50, header_seconds=60)
        server = uvicorn.Server(server_config(app, settings))
        serving = asyncio.create_task(server.serve([listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await serving


def is_poster(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        return (image.format, image.size) == ("JPEG", SIZE)


def asked_for(bench: Bench) -> dict[str, Any]:
    body = bench.cloud.topic(bench.deployment.job_topic).published[0].body
    content: dict[str, Any] = json.loads(body)["content"]
    return content


async def test_the_client_for_python_makes_and_fetches_videos(bench: Bench, url: str) -> None:
    def use() -> None:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as api:
            made: Any = api.videos.create_and_poll(
                prompt="a lighthouse",
                seconds="4",
                size="1280x720",
                input_reference=("a.png", PICTURE, "image/png"),
                extra_body={"fps": 8},
                poll_interval_ms=50,
            )
            assert (made.object, made.status, made.progress) == ("video", "completed", 100)
            assert (made.seconds, made.size) == ("1.5", "64x48")
            assert api.videos.retrieve(made.id).model == NAME
            assert api.videos.download_content(made.id).read() == FILM
            assert is_poster(api.videos.download_content(made.id, variant="thumbnail").read())
            assert [one.id for one in api.videos.list(limit=1)] == [made.id]
            with pytest.raises(openai.NotFoundError):
                api.videos.retrieve("nothing")
            with pytest.raises(openai.BadRequestError) as caught:
                api.videos.create(prompt="a", size="big")  # type: ignore[arg-type]
            assert caught.value.param == "size"
            failed: Any = api.videos.create_and_poll(prompt="a", extra_body={"steps": "many"})
            assert failed.status == "failed"
            assert "steps" in failed.error.message
            with pytest.raises(openai.NotFoundError):
                api.videos.download_content(failed.id)
            assert api.videos.delete(made.id).deleted is False

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # OpenAI's own server has an end
        await asyncio.to_thread(use)
    assert asked_for(bench) == {
        "prompt": "a lighthouse", "seconds": 4, "width": 1280, "height": 720, "fps": 8,
        "first_frame": base64.b64encode(PICTURE).decode(),
    }  # fmt: skip


async def test_the_client_for_javascript_does_the_same(bench: Bench, url: str) -> None:
    if shutil.which("node") is None or not (PLAYWRIGHT / "node_modules" / "openai").is_dir():
        pytest.skip("openai for JavaScript is not installed (make test installs it where npm is)")
    picture = base64.b64encode(PICTURE).decode()
    node = await asyncio.create_subprocess_exec(
        "node",
        str(SCRIPT),
        url,
        env={**os.environ, "PLAYWRIGHT": str(PLAYWRIGHT), "PICTURE": picture},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, complaint = await node.communicate()
    assert node.returncode == 0, complaint.decode()
    seen = json.loads(told)
    assert seen["asked"]["status"] in {"queued", "in_progress"}
    assert (seen["video"]["status"], seen["video"]["progress"]) == ("completed", 100)
    assert base64.b64decode(seen["film"]) == FILM
    assert is_poster(base64.b64decode(seen["thumbnail"]))
    assert seen["listed"] == [seen["asked"]["id"]]
    assert seen["refusal"] == {"status": 400, "param": "size"}
    assert seen["deleted"]["deleted"] is False
    assert asked_for(bench)["first_frame"] == picture
