"""Images as text: the fields of a job that hold them, and those of a runtime's answer."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

import pybase64
from pydantic import JsonValue

from queue_agent.media.asset import Asset
from queue_agent.media.base64_text import decode_base64
from queue_agent.media.facts import media_type_of, typed
from queue_agent.runtime.contract import Assets
from queue_agent.runtime.http.json_answers import SpooledText
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.reference import is_url

__all__ = [
    "decode_images",
    "image_asset",
    "image_bytes",
    "is_withheld",
]

_WITHHELD: Final = frozenset(
    {
        "censored",
        "content_filtered",
        "has_nsfw_concept",
        "has_nsfw_concepts",
        "nsfw",
        "nsfw_content_detected",
        "withheld",
    }
)


def image_asset(value: str, assets: Assets, *, field: str) -> Asset:
    """What an image field stands for: its asset, or one decoded from the field itself.

    Raises:
        Rejected: the text is neither a fetched reference nor base64 (type ``invalid_content``).
    """
    if is_url(value) and value in assets:
        return assets[value]
    encoded = value
    if value.startswith("data:"):
        encoded = value.partition(",")[2]
    try:
        data = pybase64.b64decode("".join(encoded.split()), validate=True)
    except ValueError as error:  # also of a text that is not ASCII
        raise Rejected(
            f"{field}: neither a URL, a data URL nor base64.", type="invalid_content"
        ) from error
    return Asset(data, media_type_of(data))


def image_bytes(value: str, assets: Assets, *, field: str) -> bytes:
    """The bytes of an image field, in memory; raises like `image_asset`."""
    return image_asset(value, assets, field=field).data


async def decode_images(encoded: Iterable[JsonValue]) -> list[Asset]:
    """The images of base64 texts or data URLs in a runtime's answer, of the type of their bytes.

    Large ones, which came as `SpooledText`, lie in the spools that they were read into.

    Raises:
        Unavailable: one of them is neither, or nothing (type ``invalid_answer``).
    """
    images = []
    for number, text in enumerate(encoded, 1):
        asset = _decoded(text, number)
        if not asset.size:
            raise _not_an_image(number)
        images.append(asset)
        await asyncio.sleep(0)  # decoding holds the interpreter's lock: let others in between
    return images


def is_withheld(flags: Mapping[str, JsonValue], place: int = 0) -> bool:
    """Whether a runtime says that it withholds an image, by the fields that runtimes have for it.

    They hold a flag or, of several images, one for each, by the image's place. Such an image
    may be missing, and is a matter for a warning.
    """
    for name in _WITHHELD & flags.keys():
        flag = flags[name]
        if isinstance(flag, list):
            flag = flag[place] if place < len(flag) else False
        if flag:
            return True
    return False


def _decoded(text: JsonValue, number: int) -> Asset:
    if isinstance(text, SpooledText):
        return typed(text.asset)
    if not isinstance(text, str):
        raise _not_an_image(number)
    try:
        data = decode_base64(text.partition(",")[2] if text.startswith("data:") else text)
    except ValueError as error:  # also of a text that is not ASCII
        raise _not_an_image(number) from error
    return Asset(data, media_type_of(data))


def _not_an_image(number: int) -> Unavailable:
    return Unavailable(f"Image {number} of the answer is not base64.", type="invalid_answer")
