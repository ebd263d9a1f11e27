"""Compatibility routes: clients of other servers that need only another base URL."""

import asyncio
import base64
import io
import json
import secrets
from typing import Any

import httpx
import pytest
from PIL import Image

from gateway_site import Content, Site, client_of, finished
from queue_agent.testing.process import ServerProcess


def size_of(encoded: str) -> tuple[int, int]:
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        return image.size


def shown_by(encoded: str) -> tuple[bytes, str]:
    """The pixels, and how the Web UI made them, which stands in the file."""
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        return image.tobytes(), image.info["parameters"]


async def test_txt2img_is_answered_as_the_web_ui_itself_answers(
    api: httpx.AsyncClient, content: Content, site: Site
) -> None:
    body = content("two at once", batch_size=2)
    through = (await api.post("/sdapi/v1/txt2img", json=body)).json()
    async with client_of(site.runtime) as webui:
        direct = (await webui.post("/sdapi/v1/txt2img", json=body)).json()
    assert through.keys() == direct.keys()
    assert [*map(shown_by, through["images"])] == [*map(shown_by, direct["images"])]
    info = json.loads(through["info"])
    assert info["all_seeds"] == json.loads(direct["info"])["all_seeds"]
    assert through["parameters"]["prompt"] == "two at once"


async def test_img2img_takes_a_body_of_ten_megabytes(
    api: httpx.AsyncClient, content: Content
) -> None:
    noise = Image.frombytes("RGB", (1600, 1600), secrets.token_bytes(1600 * 1600 * 3))
    file = io.BytesIO()
    noise.save(file, "PNG")
    encoded = base64.b64encode(file.getvalue()).decode()
    assert len(encoded) > 10_000_000
    body = content("from noise", init_images=[encoded], denoising_strength=0.5)
    answer = await api.post("/sdapi/v1/img2img", json=body)
    assert answer.status_code == 200
    assert size_of(answer.json()["images"][0]) == (64, 64)


async def test_the_images_api_is_answered_in_its_shape(api: httpx.AsyncClient, site: Site) -> None:
    body = {
        "model": site.deployment.runtime_name, "prompt": "an otter", "n": 2, "size": "64x128",
        "num_inference_steps": 2, "seed": 5,
    }  # fmt: skip
    answer = (await api.post("/v1/images/generations", json=body)).json()
    assert [size_of(item["b64_json"]) for item in answer["data"]] == [(64, 128)] * 2
    assert isinstance(answer["created"], int)
    links = await api.post("/v1/images/generations", json={**body, "response_format": "url"})
    picture = await api.get(links.json()["data"][0]["url"])
    assert picture.headers["content-type"] == "image/png"


async def test_what_the_runtime_refuses_is_told_in_the_doors_own_words(
    api: httpx.AsyncClient, content: Content
) -> None:
    body = content("x", sampler_name="No such sampler")
    webui = await api.post("/sdapi/v1/txt2img", json=body)
    assert 400 <= webui.status_code < 500
    assert webui.json().keys() >= {"error", "detail", "body", "errors", "job_id"}
    openai = await api.post("/v1/images/generations", json=body)
    assert 400 <= openai.status_code < 500
    assert openai.json()["error"]["type"] == "invalid_request_error"


async def test_what_takes_too_long_is_answered_504_with_the_id_to_fetch_it_by(
    site: Site, content: Content
) -> None:
    hasty = site.start_gateway(QUEUE_AGENT_GATEWAY_SYNC_TIMEOUT="0.2")
    async with client_of(hasty) as api:
        late = await api.post("/sdapi/v1/txt2img", json=content("slow", steps=100))
        assert late.status_code == 504
        job_id = late.json()["job_id"]
        assert late.headers["location"] == f"/v1/jobs/{job_id}"
        assert (await finished(api, job_id))["status"] == "completed"
    hasty.stop()


async def test_fifty_requests_five_at_a_time_are_all_answered_200(
    api: httpx.AsyncClient, content: Content
) -> None:
    five = asyncio.Semaphore(5)

    async def ask(number: int) -> int:
        async with five:
            body = content(f"load {number}", seed=number)
            return (await api.post("/sdapi/v1/txt2img", json=body)).status_code

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(number)) for number in range(50)]
    assert [task.result() for task in asked] == [200] * 50


@pytest.mark.parametrize("path", ["/sdapi/v1/txt2img", "/v1/images/generations", "/v1/jobs"])
async def test_a_body_over_the_limit_is_refused_while_it_is_sent(
    site: Site, narrow: ServerProcess, path: str
) -> None:
    async def endless() -> Any:
        for _ in range(64):
            yield b" " * 4096

    async with client_of(narrow) as api:
        headers = {"Content-Type": "application/json"}
        streamed = await api.post(path, content=endless(), headers=headers)
        whole = await api.post(path, content=b" " * 10_000_000, headers=headers)
    assert (streamed.status_code, whole.status_code) == (413, 413)


@pytest.fixture(scope="module")
def narrow(site: Site) -> ServerProcess:
    """A gateway that takes only small bodies."""
    gateway: ServerProcess = site.start_gateway(QUEUE_AGENT_GATEWAY_BODY_LIMIT="65536")
    return gateway
