"""The images that requests bring: files of a form, or texts in JSON, made a job's own fields."""

import asyncio
import base64
import io
import json
import re
import threading
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from PIL import Image, ImageOps
from pydantic import JsonValue, ValidationError
from starlette.datastructures import UploadFile

from queue_agent.gateway.bodies import says_json
from queue_agent.gateway.compatibility.openai.fields import EditsRequest, items, refusal
from queue_agent.gateway.compatibility.synchronous import Content
from queue_agent.media.base64_text import decode_base64
from queue_agent.media.facts import UnreadableImage, decode
from queue_agent.wire.portable import PortableContent
from queue_agent.wire.problems import Problem
from queue_agent.wire.reference import is_url

_MOST_FILES: Final = 17
_MOST_FIELDS: Final = 64
_IMAGE: Final = re.compile(r"image(\[\d*\])?")
_MASK_PIXELS: Final = 4096 * 4096
"""Decoded one at a time, since a gateway has little memory."""
_DECODING: Final = threading.Lock()
_SIDES: Final = range(64, 2049)
_STEP: Final = 8


async def read_edit(request: Request) -> EditsRequest:
    """The body of a request to edit, which is a form or JSON.

    Raises:
        Problem: it is neither, or a file has a name that means nothing.
        RequestValidationError: a field is wrong.
    """
    fields = await request.json() if says_json(request) else await _form_fields(request)
    try:
        return EditsRequest.model_validate(fields)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(faults) from error


async def edit_content(body: EditsRequest) -> Content:
    """The images, the mask as jobs have it, and the first image's size where none is asked for.

    Raises:
        Problem: 400, there is no image, or the mask is none that can be read.
    """
    images, mask = body.sources, body.mask_source
    if not images:
        raise refusal("image", "an image is required")
    content: Content = {"init_images": [*images]}
    if mask is not None:
        content["mask"] = await asyncio.to_thread(_portable_mask, mask)
    if body.dimensions is None:
        content |= await asyncio.to_thread(_natural_size, images[0])
    return content


async def _form_fields(request: Request) -> Content:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        words = "The body must come as multipart/form-data or application/json."
        raise Problem(415, "unsupported_media_type", words)
    async with request.form(max_files=_MOST_FILES, max_fields=_MOST_FIELDS) as form:
        texts: dict[str, list[str]] = {}
        files: dict[str, list[str]] = {}
        for name, value in form.multi_items():
            if isinstance(value, str):
                texts.setdefault(name, []).append(value)
            else:
                files.setdefault(_file_name(name), []).append(await _encoded(value))
    fields: Content = {name: _value(name, text) for name, text in items(texts)}
    for name in ("image", "mask"):
        if name in fields:
            raise refusal(name, "must be sent as a file")
    if len(files.get("mask", ())) > 1:
        raise refusal("mask", "stands more than once")
    fields["image"] = [*files.get("image", ())]
    fields["mask"] = next(iter(files.get("mask", ())), None)
    return fields


def _file_name(name: str) -> str:
    if _IMAGE.fullmatch(name):
        return "image"
    if name != "mask":
        raise refusal(name, "no file of that name can be used")
    return name


async def _encoded(file: UploadFile) -> str:
    return base64.b64encode(await file.read()).decode()


def _value(name: str, text: JsonValue) -> JsonValue:
    """A form has only texts: numbers, lists and objects of portable fields come as JSON."""
    field = PortableContent.model_fields.get(name)
    if field is None or not isinstance(text, str) or field.annotation in {str, str | None}:
        return text
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def _bytes_of(text: str) -> bytes:
    return decode_base64(text.partition(",")[2] if text.startswith("data:") else text)


def _portable_mask(text: str) -> str:
    """White where the image is to be painted anew, which at OpenAI is transparent.

    https://platform.openai.com/docs/api-reference/images/createEdit. A mask without transparency
    is taken as the portable one that it can only be.
    """
    if is_url(text):
        raise refusal("mask", "must be a file or a data URL")
    with _DECODING:
        try:
            mask = decode(_bytes_of(text), max_pixels=_MASK_PIXELS)
        except UnreadableImage as error:
            raise refusal("mask", str(error)) from error
        except ValueError:
            raise refusal("mask", "is no base64") from None
        if mask.has_transparency_data:
            grey = ImageOps.invert(mask.convert("RGBA").getchannel("A"))
        else:
            grey = mask.convert("L")
        return _png(grey)


def _png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getbuffer()).decode()


def _natural_size(text: str) -> dict[str, Any]:
    """Where it is one that runtimes make; of what is not at hand the runtime knows best."""
    if is_url(text):
        return {}
    with _DECODING:
        try:
            image = decode(_bytes_of(text), max_pixels=_SIDES.stop**2)
        except (UnreadableImage, ValueError):
            return {}  # too large, or for the agent to say what is wrong with it
    width, height = (side // _STEP * _STEP for side in image.size)
    return {"width": width, "height": height} if width in _SIDES and height in _SIDES else {}


def form_schema() -> dict[str, Any]:
    """The two bodies of edits, for the description of the routes."""
    schema = EditsRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    file = {"type": "string", "format": "binary"}
    properties = {name: value for name, value in schema["properties"].items() if name != "images"}
    form = {
        **schema,
        "properties": {**properties, "image": {"type": "array", "items": file}, "mask": file},
        "required": [*schema["required"], "image"],
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema},
                "multipart/form-data": {"schema": form},
            },
        }
    }
