"""Pictures in and out of a request: decoding what clients send, encoding what they get."""

import base64
import io
import json
import time
from collections.abc import Sequence
from typing import Final, Literal

from PIL import Image, ImageOps

from queue_agent.media.base64_text import decode_base64
from queue_agent.media.facts import MAX_PIXELS, BrokenImage, TooManyPixels, decode
from queue_agent_diffusers.errors import BodyTooLarge, InvalidRequest

MAX_SIDE: Final = 2048
MIN_SIDE: Final = 64
MAX_INPUT_PIXELS: Final = MAX_PIXELS
"""Of an image as it is sent; those of the agent's inputs."""
MAX_IMAGES: Final = 16
"""Of an edit, for models that look at several."""
SIDE_STEP: Final = 8
"""Sides are multiples of the factor by which the VAE shrinks an image."""
LANCZOS: Final = "lanczos"
"""The upscaler that needs no model."""

_QUALITY: Final = 95

OutputFormat = Literal["png", "jpeg", "webp"]


def decode_image(data: bytes, *, field: str) -> Image.Image:
    """The picture in a file's bytes, upright.

    Raises:
        InvalidRequest: it is no image, or a damaged one.
        BodyTooLarge: it has more than `MAX_INPUT_PIXELS`; found before it is decompressed.
    """
    try:
        return decode(data, max_pixels=MAX_INPUT_PIXELS)
    except TooManyPixels as error:
        raise BodyTooLarge(f"{field} {error}.", param=field) from error
    except BrokenImage as error:
        raise InvalidRequest(f"{field} is not an image that can be read.", param=field) from error


def decode_text(text: str, *, field: str) -> Image.Image:
    """The picture in a text: base64, or a data URL; raises as `decode_image`."""
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        data = decode_base64(encoded)
    except ValueError as error:
        raise InvalidRequest(
            f"{field} must be an image in base64 or a data URL; none is fetched.", param=field
        ) from error
    return decode_image(data, field=field)


def fit_image(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture in RGB, on white where it is transparent, stretched to `size`."""
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        picture = Image.alpha_composite(white, rgba)
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def reduced_image(picture: Image.Image) -> Image.Image:
    """As `fit_image`, of its own proportions and no side above `MAX_SIDE`.

    For what waits in memory to be looked at, which models do at some hundred pixels a side.
    """
    shrunk = max(1.0, max(picture.size) / MAX_SIDE)
    width, height = (max(1, round(side / shrunk)) for side in picture.size)
    return fit_image(picture, (width, height))


def fit_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The mask as mode L with white for what is painted anew, stretched to `size`.

    A mask with transparency follows OpenAI's convention (transparent is painted anew),
    one without it the usual one (white is):
    https://platform.openai.com/docs/api-reference/images/createEdit
    """
    if mask.has_transparency_data:
        return ImageOps.invert(mask.convert("RGBA").getchannel("A")).resize(size)
    return mask.convert("L").resize(size)


def natural_size(picture: Image.Image) -> tuple[int, int]:
    """The size of a result that keeps the picture's own.

    Raises:
        InvalidRequest: a side is out of range; the client has to name a size.
    """
    width, height = (side // SIDE_STEP * SIDE_STEP for side in picture.size)
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in (width, height)):
        raise InvalidRequest(
            f"The image has {picture.width}x{picture.height} pixels, and sides must be from "
            f"{MIN_SIDE} to {MAX_SIDE}: name a size.",
            param="size",
        )
    return width, height


def encode_answer(
    images: Sequence[Image.Image],
    seeds: Sequence[int | None],
    *,
    output_format: OutputFormat,
    quality: int | None = None,
    warnings: Sequence[str],
) -> bytes:
    """The JSON text of a finished request, with each image in base64."""
    data = [
        {
            "b64_json": encode_image(image, output_format, quality),
            "revised_prompt": None,
            "seed": seed,
        }
        for image, seed in zip(images, seeds, strict=True)
    ]
    answer = {
        "created": int(time.time()),
        "data": data,
        "output_format": output_format,
        "size": f"{images[0].width}x{images[0].height}",
        "warnings": list(warnings),
    }
    return json.dumps(answer).encode()


def encode_image(
    image: Image.Image, output_format: OutputFormat, quality: int | None = None
) -> str:
    """The picture as a file's bytes in base64; `quality` is for JPEG and WebP, from 0 to 100."""
    return base64.b64encode(encode_file(image, output_format, quality)).decode("ascii")


def encode_file(
    image: Image.Image, output_format: OutputFormat, quality: int | None = None
) -> bytes:
    """The picture as a file's bytes; see `encode_image`."""
    file = io.BytesIO()
    image.save(file, output_format, quality=_QUALITY if quality is None else quality)
    return file.getvalue()
