"""The fields of requests for videos, and what a job says of them: no I/O but an upload's bytes.

https://platform.openai.com/docs/api-reference/videos/create. Servers that speak the same
dialect (vLLM-Omni, SGLang) have more fields, which are those of the portable form or lead there.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from starlette.datastructures import UploadFile

from queue_agent.gateway.bodies import says_json
from queue_agent.gateway.compatibility.openai.fields import items, refusal
from queue_agent.gateway.compatibility.synchronous import Content
from queue_agent.media.facts import kind_of, media_type_of
from queue_agent.wire.problems import Problem
from queue_agent.wire.video_and_mesh import IMAGE_TO_VIDEO, TEXT_TO_VIDEO, VideoContent

_RENAMED: Final[Mapping[str, str]] = {
    "num_frames": "frames",
    "num_inference_steps": "steps",
    "cfg_scale": "guidance_scale",
    "image": "first_frame",
    "input_reference": "first_frame",
    "reference_url": "first_frame",
    "image_reference": "first_frame",
}
_IMAGES: Final = frozenset({"first_frame", "last_frame"})
_FILES: Final = frozenset({"input_reference", "image", *_IMAGES})
_MOST_FILES: Final = 4
_MOST_FIELDS: Final = 64


class VideoRequest(BaseModel):
    """The Videos dialect; portable fields may stand beside its own. Null is absent."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    prompt: str
    model: str | None = Field(
        default=None, description="A name of /v1/models: a runtime's, a checkpoint's, an alias."
    )
    seconds: float | None = Field(default=None, gt=0, description="Any that the runtime makes.")
    size: str | None = Field(default=None, pattern=r"^(auto|[1-9]\d{0,4}x[1-9]\d{0,4})$")
    input_reference: JsonValue = Field(
        default=None, description="The first frame: in a form a file, in JSON a text or an object."
    )
    user: str | None = Field(default=None, description="Goes along as the job's context.")

    @model_validator(mode="before")
    @classmethod
    def _null_counts_as_absent(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return {name: field for name, field in value.items() if field is not None}
        return value

    @property
    def context(self) -> JsonValue:
        """Who the video is for, as the job's notifications tell it again."""
        return {"user": self.user} if self.user else None

    def content(self) -> Content:
        """The portable content.

        Raises:
            Problem: 400; a field cannot be honoured, or is said twice and otherwise.
        """
        content: Content = {"prompt": self.prompt}
        extra = self.model_extra or {}
        for name, value in [*self._own_fields(), *extra.items()]:
            portable = _RENAMED.get(name, name)
            said = _url_of(name, value) if portable in _IMAGES else value
            if content.setdefault(portable, said) != said:
                raise refusal(name, "is said otherwise by another field")
        return content

    def _own_fields(self) -> list[tuple[str, JsonValue]]:
        told: list[tuple[str, JsonValue]] = []
        if self.seconds is not None:
            told.append(("seconds", self.seconds))
        if self.size not in {None, "auto"}:
            width, _, height = str(self.size).partition("x")
            told += [("width", int(width)), ("height", int(height))]
        if self.input_reference is not None:
            told.append(("input_reference", self.input_reference))
        return told


def task_of(content: Content) -> str:
    """Whether there are images to begin or to end with."""
    return IMAGE_TO_VIDEO if {"first_frame", "last_frame"} & content.keys() else TEXT_TO_VIDEO


async def read_request(request: Request) -> VideoRequest:
    """The body of a request for a video, which is a form or JSON.

    Raises:
        Problem: it is neither, or a file is none that can be used.
        RequestValidationError: a field is wrong.
    """
    fields = await request.json() if says_json(request) else await _form_fields(request)
    try:
        return VideoRequest.model_validate(fields)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(faults) from error


async def _form_fields(request: Request) -> Content:
    kind = request.headers.get("content-type", "")
    if not kind.startswith(("multipart/form-data", "application/x-www-form-urlencoded")):
        words = "The body must come as multipart/form-data or application/json."
        raise Problem(415, "unsupported_media_type", words)
    async with request.form(max_files=_MOST_FILES, max_fields=_MOST_FIELDS) as form:
        texts: dict[str, list[str]] = {}
        for name, value in form.multi_items():
            text = value if isinstance(value, str) else await _encoded(name, value)
            texts.setdefault(name, []).append(text)
    return _gathered({name: _value(name, text) for name, text in items(texts)})


def _gathered(fields: Content) -> Content:
    """Objects as forms write them, `input_reference[image_url]`, made objects."""
    whole: Content = {}
    for name, value in fields.items():
        outer, _, inner = name.partition("[")
        if inner.endswith("]"):
            beside = whole.setdefault(outer, {})
            if not isinstance(beside, dict):
                raise refusal(outer, "stands more than once")
            beside[inner[:-1]] = value
        else:
            whole[name] = value
    return whole


async def _encoded(name: str, file: UploadFile) -> str:
    if name not in _FILES:
        raise refusal(name, "no file of that name can be used")
    data = await file.read()
    if kind_of(media_type_of(data)) != "image":
        raise refusal(name, "is no image; of videos none can be made here")
    return base64.b64encode(data).decode()


def _value(name: str, text: JsonValue) -> JsonValue:
    """A form has only texts: what is no text in the portable form comes as JSON."""
    portable = _RENAMED.get(name, name)
    field = VideoContent.model_fields.get(portable)
    is_text = field is None or field.annotation in {str, str | None}
    is_object = portable in _IMAGES and isinstance(text, str) and text.startswith("{")
    if not isinstance(text, str) or not (is_object or (not is_text and portable not in _IMAGES)):
        return text
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def _url_of(name: str, value: JsonValue) -> JsonValue:
    """The image that a field gives as a text, or as an object that holds one."""
    if not isinstance(value, dict):
        return value
    if "file_id" in value:
        raise refusal(name, "no files are kept here; give the image itself, or its address")
    url = value.get("image_url")
    if not isinstance(url, str) or not url:
        raise refusal(name, 'must be an image, or {"image_url": …}')
    return url


def form_schema() -> dict[str, Any]:
    """The two bodies, for the description of the route."""
    schema = VideoRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    properties = schema["properties"]
    reference = {"type": "object", "properties": {"image_url": {"type": "string"}}}
    in_json = {**properties, "input_reference": {"anyOf": [{"type": "string"}, reference]}}
    in_form = {**properties, "input_reference": {"type": "string", "format": "binary"}}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {**schema, "properties": in_json}},
                "multipart/form-data": {"schema": {**schema, "properties": in_form}},
            },
        }
    }
