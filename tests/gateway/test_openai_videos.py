"""OpenAI's own clients ask a gateway for videos, and fetch them."""

import asyncio
import base64
import io
import json
import os
import shutil
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import openai
import pytest
from PIL import Image

from film_studio import MP4, open_studio
from page_visit import PLAYWRIGHT
from queue_agent.testing import sample_png
from video_files import SIZE
from worker_bench import NAME, Bench

SCRIPT: Final = Path(__file__).parent / "openai" / "videos.mjs"
PICTURE: Final = sample_png(64, 48)


@pytest.fixture
async def studio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Bench, str]]:
    async with open_studio(tmp_path, monkeypatch) as opened:
        yield opened


def is_poster(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        return (image.format, image.size) == ("JPEG", SIZE)


def asked_for(bench: Bench) -> dict[str, Any]:
    body = bench.cloud.topic(bench.deployment.job_topic).published[0].body
    content: dict[str, Any] = json.loads(body)["content"]
    return content


async def test_the_client_for_python_makes_and_fetches_videos(studio: tuple[Bench, str]) -> None:
    bench, url = studio

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
            assert api.videos.download_content(made.id).read() == MP4
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


async def test_the_client_for_javascript_does_the_same(studio: tuple[Bench, str]) -> None:
    if shutil.which("node") is None or not (PLAYWRIGHT / "node_modules" / "openai").is_dir():
        pytest.skip("openai for JavaScript is not installed (make test installs it where npm is)")
    bench, url = studio
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
    assert base64.b64decode(seen["film"]) == MP4
    assert is_poster(base64.b64decode(seen["thumbnail"]))
    assert seen["listed"] == [seen["asked"]["id"]]
    assert seen["refusal"] == {"status": 400, "param": "size"}
    assert seen["deleted"]["deleted"] is False
    assert asked_for(bench)["first_frame"] == picture
