"""Images as text: the fields of a job that hold them, and those of a runtime's answer."""

import asyncio
import binascii
from collections.abc import Iterable

import pybase64
from pydantic import JsonValue

from queue_agent.media.asset import Asset
from queue_agent.media.facts import media_type_of
from queue_agent.runtime.contract import Assets
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.reference import is_url

__all__ = [
    "decode_images",
    "image_asset",
    "image_bytes",
]


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


async def decode_images(encoded: Iterable[JsonValue]) -> list[bytes]:
    """The bytes of base64 texts or data URLs in a runtime's answer.

    Raises:
        Unavailable: one of them is neither (type ``invalid_answer``).
    """
    images = []
    for number, text in enumerate(encoded, 1):
        if not isinstance(text, str):
            raise _not_an_image(number)
        try:
            images.append(pybase64.b64decode(_payload(text)))
        except (binascii.Error, ValueError) as error:
            raise _not_an_image(number) from error
        if not images[-1]:
            raise _not_an_image(number)
        await asyncio.sleep(0)  # decoding holds the interpreter's lock: let others in between
    return images


def _payload(text: str) -> str:
    return text.partition(",")[2] if text.startswith("data:") else text


def _not_an_image(number: int) -> Unavailable:
    return Unavailable(f"Image {number} of the answer is not base64.", type="invalid_answer")
