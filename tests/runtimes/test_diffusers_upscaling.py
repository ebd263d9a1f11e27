"""Images that the bundled runtime makes larger, by models of diffusers or by none."""

import base64
import io
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from queue_agent.testing import sample_png
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.engine.tiling import enlarge_by_tiles
from queue_agent_diffusers.errors import InvalidRequest
from queue_agent_diffusers.http.images import decode_image

UPSCALES = "/v1/images/upscales"
PHOTO = decode_image(sample_png(64, 64), field="image").convert("RGB")


def upscaler(factor: int) -> Any:
    from queue_agent_diffusers.torch.upscaling import UpscalerModel  # noqa: PLC0415  loads torch
    from tiny_upscalers import tiny_upscaler  # noqa: PLC0415  as above

    return UpscalerModel(tiny_upscaler(factor))


def enlarged(model: Any, picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    request = ImageRequest(
        "x", seed=7, image=picture, width=size[0], height=size[1], steps=2, enlarge=True
    )
    told: list[tuple[int, int]] = []
    pictures: Pictures = model.generate(request, lambda step, steps: told.append((step, steps)))
    [image] = pictures.images
    assert told[-1][0] == told[-1][1], "the end of its steps"
    assert [step for step, _ in told] == sorted(step for step, _ in told)
    return image


@pytest.mark.parametrize("factor", [2, 4])
def test_an_image_of_one_tile_is_what_the_plain_upscaler_makes(factor: int) -> None:
    import torch  # noqa: PLC0415  slow to load

    from tiny_upscalers import tiny_upscaler  # noqa: PLC0415  loads torch

    generator = torch.Generator("cpu").manual_seed(7)
    [plain] = tiny_upscaler(factor)(
        prompt="x", image=PHOTO, num_inference_steps=2, generator=generator
    ).images
    made = enlarged(upscaler(factor), PHOTO, (64 * factor, 64 * factor))
    assert made.tobytes() == plain.tobytes()


def test_an_image_of_any_size_is_enlarged_to_any_size() -> None:
    made = enlarged(upscaler(4), PHOTO.resize((100, 70)), (350, 245))
    assert made.size == (350, 245)
    again = enlarged(upscaler(2), PHOTO.resize((40, 30)), (130, 98))
    assert again.size == (130, 98), "twice by two, and down again"


def test_smaller_tiles_are_taken_where_large_ones_do_not_fit() -> None:
    import torch  # noqa: PLC0415  slow to load

    from tiny_upscalers import tiny_upscaler  # noqa: PLC0415  loads torch

    sides: list[int] = []

    def look(_: Any, given: tuple[Any, ...]) -> None:
        sides.append(given[0].shape[-1])
        if sides[-1] > 64:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = tiny_upscaler(4).unet.register_forward_pre_hook(look)
    try:
        made = enlarged(upscaler(4), PHOTO.resize((128, 64)), (512, 256))
    finally:
        hook.remove()
    assert made.size == (512, 256)
    assert sides[0] == 128
    assert set(sides[1:]) == {128, 64} or set(sides[1:]) == {64}


def test_an_upscaler_makes_no_other_images() -> None:
    with pytest.raises(InvalidRequest, match="makes images larger, and no others"):
        upscaler(4).check(ImageRequest("x", seed=1))


@settings(max_examples=20)
@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from([64, 128]))
def test_tiles_make_the_whole_picture_without_a_seam(width: int, height: int, tile: int) -> None:
    picture = PHOTO.resize((width, height))

    def doubled(piece: Image.Image, _number: int) -> Image.Image:
        assert max(piece.size) <= tile
        assert all(side % 64 == 0 for side in piece.size)
        return piece.resize((piece.width * 2, piece.height * 2), Image.Resampling.NEAREST)

    made = enlarge_by_tiles(picture, 2, doubled, tile=tile, multiple=64)
    whole = picture.resize((width * 2, height * 2), Image.Resampling.NEAREST)
    assert max(ImageChops.difference(made, whole).tobytes()) <= 1


def test_tiles_fade_into_each_other() -> None:
    def shade(piece: Image.Image, number: int) -> Image.Image:
        return Image.new("RGB", piece.size, (100 * number,) * 3)

    made = enlarge_by_tiles(Image.new("RGB", (128, 64)), 1, shade, tile=96, multiple=32)
    levels = list(made.convert("L").crop((0, 10, 128, 11)).tobytes())
    assert (levels[0], levels[-1]) == (0, 100)
    assert levels == sorted(levels)
    assert len(set(levels)) > 20, "no edge between them"


async def upscaled(client: httpx.AsyncClient, data: bytes, **fields: Any) -> Image.Image:
    answer = await client.post(UPSCALES, data=fields, files={"image": data})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["warnings"] == []
    image = Image.open(io.BytesIO(base64.b64decode(told["data"][0]["b64_json"])))
    assert told["size"] == f"{image.width}x{image.height}"
    return image


async def test_a_server_makes_images_larger_without_a_model(client: httpx.AsyncClient) -> None:
    data = sample_png(50, 30)
    image = await upscaled(client, data)
    assert image.size == (100, 60)
    plain = Image.open(io.BytesIO(data)).convert("RGB").resize((100, 60), Image.Resampling.LANCZOS)
    assert image.tobytes() == plain.tobytes()
    assert (await upscaled(client, data, scale=0.5, upscaler="Lanczos")).size == (25, 15)


async def test_transparency_is_kept_where_the_format_has_it(client: httpx.AsyncClient) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(file, "PNG")
    assert (await upscaled(client, file.getvalue())).getchannel("A").getextrema() == (0, 0)
    flat = await upscaled(client, file.getvalue(), output_format="jpeg")
    assert (flat.mode, flat.getpixel((8, 8))) == ("RGB", (255, 255, 255))


async def test_a_server_makes_images_larger_by_a_model_that_the_operator_named(
    client: httpx.AsyncClient,
) -> None:
    fields = {"upscaler": "large", "scale": 3, "num_inference_steps": 2, "seed": 7, "prompt": "x"}
    image = await upscaled(client, sample_png(64, 40), **fields)
    assert image.size == (192, 120)
    again = await upscaled(client, sample_png(64, 40), **fields)
    assert image.tobytes() == again.tobytes()
    told = (await client.get("/v1/capabilities")).json()
    assert [one["name"] for one in told["upscalers"]] == ["lanczos", "large"]
    assert len(told["models"]) == 1, "an upscaler is no model to make images with"


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"upscaler": "R-ESRGAN 4x+"}, 400, "there are 'lanczos', 'large'"),
        ({"scale": 0}, 422, "scale"),
        ({"scale": 9}, 422, "scale"),
        ({"scale": "wide"}, 422, "scale"),
    ],
)
async def test_what_cannot_be_made_larger_is_refused_in_words(
    client: httpx.AsyncClient, fields: dict[str, Any], status: int, words: str
) -> None:
    answer = await client.post(UPSCALES, data=fields, files={"image": sample_png()})
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


async def test_an_image_that_would_be_too_large_is_refused(client: httpx.AsyncClient) -> None:
    file = io.BytesIO()
    Image.new("L", (5000, 5000)).save(file, "PNG")
    answer = await client.post(UPSCALES, data={"scale": 4}, files={"image": file.getvalue()})
    assert answer.status_code == 413
    assert "20000x20000 pixels" in answer.text
    answer = await client.post(UPSCALES, data={"scale": 2}, files={"x": b""})
    assert (answer.status_code, "An image is required" in answer.text) == (422, True)
