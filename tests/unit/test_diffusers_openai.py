"""What clients of OpenAI ask the bundled runtime for, around a model that paints at once."""

import base64
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from PIL import Image

from diffusers_servers import engine_of
from queue_agent.testing import eventually, sample_png
from queue_agent_diffusers.engine.model import OnStep
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.engine.unbatched import UnbatchedModel
from queue_agent_diffusers.http.app import create_app
from queue_agent_diffusers.http.images import reduced_image


class Noise(UnbatchedModel):
    """Makes noise, which compresses badly."""

    def generate(self, request: ImageRequest, on_step: OnStep) -> Pictures:
        on_step(1, 1)
        noise = Image.effect_noise((128, 128), 90).convert("RGB")
        return Pictures([noise] * request.count)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    engine = engine_of(Noise())
    engine.start()
    await eventually(lambda: engine.ready)
    transport = httpx.ASGITransport(create_app(engine))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as made:
        yield made
    engine.close()


async def test_a_model_is_shown_by_its_name(client: httpx.AsyncClient) -> None:
    (listed,) = (await client.get("/v1/models")).json()["data"]
    assert (await client.get("/v1/models/scripted")).json() == listed
    missing = await client.get("/v1/models/org/other")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_links_are_refused_in_words(client: httpx.AsyncClient) -> None:
    body = {"prompt": "a", "response_format": "url"}
    for path, sent in (("generations", {"json": body}), ("edits", {"data": body})):
        files: Any = {"image": sample_png()} if path == "edits" else None
        answer = await client.post(f"/v1/images/{path}", **sent, files=files)  # type: ignore[arg-type]
        fault = answer.json()["error"]
        assert (answer.status_code, fault["param"]) == (422, "response_format")
        assert "ask for b64_json" in fault["message"]


async def test_a_response_format_that_is_null_is_none(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/images/generations", json={"prompt": "a", "response_format": None}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("files", "status", "words"),
    [
        ([("image[]", sample_png())] * 16, 200, ""),
        ([("image", sample_png()), ("image[]", sample_png())], 200, ""),
        ([("image[]", sample_png())] * 17, 422, "From one to 16 images"),
        ([("mask", sample_png())], 422, "From one to 16 images"),
        ([("image", sample_png()), *[("mask", sample_png())] * 2], 422, "2 files are named mask"),
        ([("image", sample_png()), ("image", b"none")], 422, "is not an image"),
        ([("image", sample_png())] * 99, 400, "Too many files"),
    ],
)
async def test_an_edit_has_from_one_to_sixteen_images_and_one_mask(
    client: httpx.AsyncClient, files: list[tuple[str, bytes]], status: int, words: str
) -> None:
    data = {"prompt": "a", "size": "64x64"}
    answer = await client.post("/v1/images/edits", data=data, files=files)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


@pytest.mark.parametrize("stream", [False, True])
async def test_compression_is_that_of_the_files(client: httpx.AsyncClient, stream: bool) -> None:
    sizes = []
    for compression in (10, 90, None):
        body = {"prompt": "a", "output_format": "jpeg", "output_compression": compression}
        answer = await client.post("/v1/images/generations", json={**body, "stream": stream})
        assert answer.status_code == 200
        assert "warnings" not in answer.text or '"warnings": []' in answer.text
        encoded = answer.text.partition('"b64_json": "')[2].partition('"')[0]
        data = base64.b64decode(encoded)
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "JPEG"
        sizes.append(len(data))
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1] / 2


async def test_images_are_opaque_and_as_good_as_they_can_be(client: httpx.AsyncClient) -> None:
    body = {"prompt": "a", "background": "opaque", "quality": "hd", "style": "vivid"}
    answer = await client.post("/v1/images/generations", json=body)
    assert [words.partition(":")[0] for words in answer.json()["warnings"]] == ["style"]


@pytest.mark.parametrize(
    ("given", "made"),
    [((4096, 100), (2048, 50)), ((10, 9000), (2, 2048)), ((9000, 1), (2048, 1)), ((7, 5), (7, 5))],
)
def test_what_waits_to_be_looked_at_is_no_larger_than_results(
    given: tuple[int, int], made: tuple[int, int]
) -> None:
    assert reduced_image(Image.new("RGBA", given)).size == made
