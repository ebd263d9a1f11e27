"""Image fields of a job, as adapters need them."""

import base64

import filetype

from queue_agent.media.asset import Asset
from queue_agent.runtime.contract import Assets
from queue_agent.wire.errors import Rejected
from queue_agent.wire.reference import is_url


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
        data = base64.b64decode("".join(encoded.split()), validate=True)
    except ValueError as error:  # also of a text that is not ASCII
        raise Rejected(
            f"{field}: neither a URL, a data URL nor base64.", type="invalid_content"
        ) from error
    return Asset(data, filetype.guess_mime(data) or "application/octet-stream")


def image_bytes(value: str, assets: Assets, *, field: str) -> bytes:
    """The bytes of an image field, in memory; raises like `image_asset`."""
    return image_asset(value, assets, field=field).data
