"""What the bundled runtime refuses before it works: names, pages, images that take too much."""

import asyncio
import base64
import threading
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from PIL import Image

from diffusers_servers import engine_of
from media_files import BROKEN, HUGE
from queue_agent.testing import eventually, sample_png
from queue_agent_diffusers.engine.model import OnStep
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.engine.unbatched import UnbatchedModel
from queue_agent_diffusers.http import image_routes
from queue_agent_diffusers.http.app import create_app
from queue_agent_diffusers.http.images import decode_image

EDITS = "/v1/images/edits"
Headers = dict[str, str]


class Painting(UnbatchedModel):
    """Paints at once."""

    def generate(self, request: ImageRequest, on_step: OnStep) -> Pictures:
        on_step(1, 1)
        return Pictures([Image.new("RGB", (64, 64)) for _ in request.seeds])


async def healthy(client: httpx.AsyncClient) -> bool:
    return (await client.get("/health")).status_code == 200


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    engine = engine_of(Painting())
    engine.start()
    transport = httpx.ASGITransport(create_app(engine, hosts=["Runtime.example", "runtime"]))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        await eventually(lambda: healthy(client))
        yield client
    engine.close()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example@localhost",
        "localhost/",
        "runtime.evil",
        "",
        "[::1].evil",
        "localhost:8000, evil.example",
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/health", "/openapi.json", "/nowhere"])
async def test_by_another_name_it_tells_nothing(
    client: httpx.AsyncClient, host: str, path: str
) -> None:
    answer = await client.get(path, headers={"Host": host})
    assert (answer.status_code, answer.json()["error"]["code"]) == (421, "unknown_host")


async def test_two_names_are_none(client: httpx.AsyncClient) -> None:
    headers = [("Host", "localhost"), ("Host", "localhost")]
    assert (await client.get("/v1/jobs", headers=headers)).status_code == 421


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:8000", "[::1]:8000", "10.2.3.4:8000",
     "runtime:8000", "runtime.example."],
)  # fmt: skip
async def test_by_its_names_and_any_address_it_answers(
    client: httpx.AsyncClient, host: str
) -> None:
    assert (await client.get("/v1/jobs", headers={"Host": host})).status_code == 200


async def test_a_star_allows_every_name() -> None:
    engine = engine_of(Painting())
    transport = httpx.ASGITransport(create_app(engine, hosts=["*"]))
    async with httpx.AsyncClient(transport=transport, base_url="http://any.example") as client:
        assert (await client.get("/v1/jobs")).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "https://localhost.evil", "null", "", "http://127.0.0.1:8000",
     "file://", "http://127.0.0.1, http://evil.example"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/images/generations"),
        ("POST", EDITS),
        ("DELETE", "/v1/jobs/a"),
        ("POST", "/v1/models/unload"),
        ("POST", "/v1/models/load"),
        ("POST", "/v1/models/preload"),
    ],
)
async def test_a_page_of_others_changes_nothing(
    client: httpx.AsyncClient, origin: str, method: str, path: str
) -> None:
    answer = await client.request(method, path, headers={"Origin": origin})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden_origin")


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://127.0.0.1"}])
async def test_what_is_no_page_of_others_may_ask_for_images(
    client: httpx.AsyncClient, headers: Headers
) -> None:
    body = {"prompt": "x", "size": "64x64"}
    answer = await client.post("/v1/images/generations", json=body, headers=headers)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("field", ["image", "mask"])
@pytest.mark.parametrize("data", HUGE.values(), ids=HUGE.keys())
async def test_an_image_that_would_not_fit_into_memory_is_too_large(
    client: httpx.AsyncClient, data: bytes, field: str
) -> None:
    files = {"image": sample_png(64, 64), field: data}
    answer = await client.post(EDITS, data={"prompt": "x"}, files=files)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (413, "too_large", field)


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_image_is_refused(client: httpx.AsyncClient, data: bytes) -> None:
    answer = await client.post(EDITS, data={"prompt": "x"}, files={"image": data})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "image")


async def test_no_two_requests_have_their_images_decoded_at_once(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, under_way, most = threading.Lock(), 0, 0

    def decode(data: bytes, *, field: str) -> Image.Image:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.01)  # decoding takes its time, in a thread
        with lock:
            under_way -= 1
        return decode_image(data, field=field)

    monkeypatch.setattr(image_routes, "decode_image", decode)
    files = {"image": sample_png(64, 64), "mask": sample_png(64, 64)}
    answers = await asyncio.gather(
        *(client.post(EDITS, data={"prompt": "x"}, files=files) for _ in range(6))
    )
    assert [answer.status_code for answer in answers] == [200] * 6
    assert base64.b64decode(answers[0].json()["data"][0]["b64_json"])
    assert most == 1
