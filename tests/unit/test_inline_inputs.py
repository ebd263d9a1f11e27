"""Inputs in the job itself keep to the limits of fetched ones, in whatever field they stand."""

import base64

import pytest
from pydantic import JsonValue

from media_files import BROKEN, HUGE, IMAGES, OTHERS, UNKNOWNS
from queue_agent.inputs.inline import check_carried, find_carried
from queue_agent.wire.errors import Rejected

PNG = base64.b64encode(IMAGES["png"][0]).decode()
FIELDS: list[tuple[JsonValue, str]] = [
    ({"init_images": ["$"]}, "init_images[0]"),
    ({"mask": "$"}, "mask"),
    ({"imageList": [{"data": "$", "name": "a"}]}, "imageList[0].data"),
    (
        {"alwayson_scripts": {"controlnet": {"args": [{"image": {"mask": "$"}}]}}},
        "alwayson_scripts.controlnet.args[0].image.mask",
    ),
    ({"1": {"class_type": "ETN_LoadImageBase64", "inputs": {"image": "$"}}}, "1.inputs.image"),
    ({"field_of_an_extension": [["$"]]}, "field_of_an_extension[0][0]"),
]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def filled(value: JsonValue, text: str) -> JsonValue:
    """The content with a text in the place of the dollar."""
    if isinstance(value, dict):
        return {name: filled(item, text) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, text) for item in value]
    return text if value == "$" else value


def check(
    content: JsonValue,
    *,
    max_bytes: int = 2**20,
    max_pixels: int = 64_000_000,
    max_total_bytes: int = 2**21,
) -> int:
    return check_carried(
        find_carried(content),
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        max_total_bytes=max_total_bytes,
    )


def refusal(content: JsonValue, **limits: int) -> tuple[str, str]:
    with pytest.raises(Rejected) as caught:
        check(content, **limits)
    return caught.value.type, caught.value.message


@pytest.mark.parametrize(("content", "field"), FIELDS)
def test_an_image_with_too_many_pixels_is_too_large_wherever_it_stands(
    content: JsonValue, field: str
) -> None:
    assert check(filled(content, PNG)) == len(IMAGES["png"][0])
    kind, message = refusal(filled(content, PNG), max_pixels=1000)
    assert kind == "reference_too_large"
    assert message == f"{field}: has 48 x 32 pixels; the limit is 1000."


@pytest.mark.parametrize(("content", "field"), FIELDS)
def test_an_image_of_too_many_bytes_is_too_large_wherever_it_stands(
    content: JsonValue, field: str
) -> None:
    for text in (PNG, f"data:image/png;base64,{PNG}"):
        kind, message = refusal(filled(content, text), max_bytes=1000)
        assert kind == "reference_too_large"
        assert message.startswith(f"{field}: has more than 1000 bytes")


def test_what_a_job_carries_has_a_limit_together() -> None:
    size = len(IMAGES["png"][0])
    content: JsonValue = {"init_images": [PNG] * 3}
    assert check(content, max_total_bytes=3 * size) == 3 * size
    assert refusal(content, max_total_bytes=3 * size - 1)[0] == "reference_too_large"


@pytest.mark.parametrize("data", HUGE.values(), ids=HUGE.keys())
def test_a_small_file_of_a_huge_image_is_too_large(data: bytes) -> None:
    assert refusal({"mask": encoded(data)})[0] == "reference_too_large"


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_image_is_invalid(data: bytes) -> None:
    assert refusal({"mask": f"data:image/png;base64,{encoded(data)}"})[0] == "invalid_content"


@pytest.mark.parametrize(
    "text",
    [
        "!" + PNG,
        "!" * 10_000 + PNG,
        PNG[:100] + "," + PNG[100:],
        "\u200b" + PNG,
        "====" + PNG,
        f"data:image/png,{PNG}",
        f"data:image/png;a,{PNG};base64,QUJD",
        f"DATA:IMAGE/PNG;base64,{PNG[:-1]}!",
        "data:video/mp4,%00%00%00%00%00%00%00%00%00%00%00",
        encoded(OTHERS["heic"][0]),
        encoded(OTHERS["icon"][0]),
    ],
)
def test_what_decoders_read_differently_is_invalid(text: str) -> None:
    assert refusal({"mask": text})[0] == "invalid_content"


@pytest.mark.parametrize(
    "text",
    [
        "a cat",
        "data: a picture of how it flows through the city",
        "a lighthouse at dusk, oil on canvas, very detailed, 4k, trending",
        "x" * 100_000,
        "/" * 50,
        encoded(UNKNOWNS["text"] * 10),
        "QUJD",
    ],
)
def test_words_carry_nothing(text: str) -> None:
    assert find_carried({"prompt": text, "a": [text]}) == []


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "gif", "bmp", "tiff", "avif", "jpeg 2000"])
def test_every_image_that_is_read_may_be_carried(name: str) -> None:
    data, _ = IMAGES[name]
    wrapped = encoded(data)[:76] + "\r\n" + encoded(data)[76:]
    assert check({"a": encoded(data), "b": wrapped}) == 2 * len(data)


def test_sound_and_video_may_be_carried_within_the_limits_of_bytes() -> None:
    sound = encoded(OTHERS["wav"][0])
    assert check({"audio": sound}) == len(OTHERS["wav"][0])
    assert refusal({"audio": sound}, max_bytes=100)[0] == "reference_too_large"
