"""The images that go along with a request: found, fetched or decoded, and sent as files."""

import io
from collections.abc import Iterable, Mapping, Sequence

from PIL import Image, ImageOps
from pydantic import JsonValue

from queue_agent.media.facts import UnreadableImage, decode
from queue_agent.runtime import Asset, Assets
from queue_agent.runtime.http import Form, FormFile, form
from queue_agent.runtime.images import image_asset
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import canonical_json
from queue_agent.wire.media_types import extension


def image_fields(
    content: Mapping[str, JsonValue],
) -> Iterable[tuple[tuple[str | int, ...], JsonValue]]:
    """Where images stand in an image-to-image job, and what stands there."""
    for name in ("init_images", "image"):
        value = content.get(name)
        if isinstance(value, list):
            yield from (((name, number), entry) for number, entry in enumerate(value))
        elif value:
            yield (name,), value
    if content.get("mask"):
        yield ("mask",), content["mask"]


def input_files(
    content: Mapping[str, JsonValue], assets: Assets
) -> tuple[list[Asset], Asset | None]:
    """The images, at least one, and the mask.

    Raises:
        Rejected: there is none, or one that is no text, reference or base64.
    """
    images, mask = [], None
    for path, value in image_fields(content):
        where = ".".join(map(str, path))
        if not isinstance(value, str):
            raise Rejected(f"{where}: must be a text.", type="invalid_content")
        asset = image_asset(value, assets, field=where)
        if path == ("mask",):
            mask = asset
        else:
            images.append(asset)
    if not images:
        raise Rejected("init_images: an image is required.", type="invalid_content")
    return images, mask


def image_field(content: Mapping[str, JsonValue], assets: Assets) -> Asset:
    """The one image of a job that makes it larger; raises as `input_files`."""
    value = content.get("image")
    if not value:
        raise Rejected("image: an image is required.", type="invalid_content")
    if not isinstance(value, str):
        raise Rejected("image: must be a text.", type="invalid_content")
    return image_asset(value, assets, field="image")


def unmistakable_mask(mask: Asset) -> Asset:
    """The mask as a PNG that both conventions read alike.

    What is painted anew is white in the portable form, and transparent in OpenAI's:
    https://platform.openai.com/docs/api-reference/images/createEdit. So it is made both.
    """
    try:
        grey = decode(mask).convert("L")
    except UnreadableImage as error:
        raise Rejected(f"mask: {error}.", type="invalid_content") from error
    made = io.BytesIO()
    Image.merge("LA", (grey, ImageOps.invert(grey))).convert("RGBA").save(made, "PNG")
    return Asset(made.getvalue(), "image/png")


def multipart(fields: Mapping[str, JsonValue], images: Sequence[Asset], mask: Asset | None) -> Form:
    """The fields of the request, and the files that go along with it."""
    inputs = [("image", image) for image in images]
    if mask is not None:
        inputs.append(("mask", mask))
    return form(
        {name: form_text(value) for name, value in fields.items()},
        [
            FormFile(name, asset, f"{name}-{number}.{extension(asset.media_type)}")
            for number, (name, asset) in enumerate(inputs, 1)
        ],
    )


def form_text(value: JsonValue) -> str:
    """A value as a form's field holds it."""
    return value if isinstance(value, str) else canonical_json(value)
