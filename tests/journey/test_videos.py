"""A video from the page's form through topic, agent, runtime and bucket to the page's player."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fakes import fake_runtime
from gateway_site import Site, site_of
from harness import PATIENCE
from page_visit import missing, use
from queue_agent.testing.aws import EmbeddedCloud


@pytest.fixture(scope="module")
def site(embedded_cloud: EmbeddedCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = fake_runtime("openai", "--engine", "sglang", "--step-seconds", "0.01")
    with site_of(embedded_cloud, tmp_path_factory.mktemp("films"), server, "openai") as made:
        yield made


def test_a_video_is_asked_for_followed_and_played_on_the_page(site: Site, tmp_path: Path) -> None:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    gateway = site.start_gateway()
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE) as api:
        while "text-to-video" not in api.get("/v1/runtimes").json()["runtimes"][0]["task_types"]:
            pass  # each answer takes a while, and the agent tells it when it starts
        seen = use(gateway.url, "journey", tmp_path, RUNTIME=site.runtime.url)
        assert 0 < seen["progress"] < 1
        width, height, duration, error = seen["played"]
        assert (duration, error) == (2, None)
        assert seen["statuses"] == [206]
        assert seen["complaints"] == seen["outside"] == []

        (film,) = api.get("/v1/videos").json()["data"]
        assert (film["status"], film["progress"]) == ("completed", 100)
        assert (film["seconds"], film["size"]) == ("2", f"{width}x{height}")
        (job,) = api.get("/v1/jobs").json()["jobs"]
        video, poster = job["images"]
        assert (video["frames"], video["fps"], poster["role"]) == (16, 8, "poster")
        content = f"/v1/videos/{film['id']}/content"
        whole = api.get(content).content
        part = api.get(content, headers={"Range": "bytes=-100"})
        assert (part.status_code, part.content) == (206, whole[-100:])
        assert len(whole) == video["bytes"]
        thumbnail = api.get(content, params={"variant": "thumbnail"}).content
        assert thumbnail == api.get(video["poster"]).content
        assert thumbnail.startswith(b"\xff\xd8\xff")
