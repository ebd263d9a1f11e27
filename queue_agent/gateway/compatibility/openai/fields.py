"""The fields of requests in the Images dialect, and what of them a job can say: no I/O.

https://platform.openai.com/docs/api-reference/images/create. Nothing is passed over in silence:
a field is honoured, refused by name, or warned of.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from queue_agent.gateway.compatibility.synchronous import Content
from queue_agent.wire.offer import Offer
from queue_agent.wire.output import OutputOptions
from queue_agent.wire.problems import Problem
from queue_agent.wire.quality import parse_quality

FileFormat = Literal["png", "jpeg", "webp"]

_RENAMED: Final[Mapping[str, str]] = {
    "num_inference_steps": "steps",
    "guidance_scale": "cfg_scale",
    "strength": "denoising_strength",
}
_NAMES: Final[Mapping[str, str]] = {"batch_size": "n", "width": "size", "height": "size"}
"""What the dialect calls what is said by portable fields."""
_HINTS: Final = ("quality", "style", "complexity", "input_fidelity")
_ASKS_FOR_NOTHING: Final = (None, "", "auto", "standard")
_NOT_HERE: Final = ("markup", "svg", "frame_count", "frame_duration_ms")
_FULL_QUALITY: Final = 100
_MOST_IMAGES: Final = 16
_SPEAKS_THE_DIALECT: Final = "openai"
_HAS_QUALITIES: Final = "diffusers"
_ENCODES_AS_ASKED: Final = frozenset({"diffusers", _SPEAKS_THE_DIALECT})
"""Adapters whose runtimes take `output_format`; for others, agents convert what they made."""
_WORK_ON_ONE_IMAGE: Final = frozenset({"comfyui"})
"""Adapters that use only the first of an edit's images."""


class ImagesRequest(BaseModel):
    """The Images dialect; portable fields of a job may stand beside its own. Null is absent."""

    model_config = ConfigDict(extra="allow")

    prompt: str
    model: str | None = Field(
        default=None, description="A name of /v1/models: a runtime's, a checkpoint's, an alias."
    )
    n: int = Field(default=1, ge=1, le=16)
    size: str | None = Field(default=None, pattern=r"^(auto|[1-9]\d{0,4}x[1-9]\d{0,4})$")
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: FileFormat | None = None
    output_compression: int | None = Field(
        default=None, ge=0, le=100, description="The quality of JPEG and WebP."
    )
    background: Literal["auto", "opaque", "transparent"] = "auto"
    moderation: Literal["auto", "low"] = "auto"
    quality: str | None = Field(
        default=None, description="OpenAI's words, or exact, balanced and fast; a hint for some."
    )
    style: str | None = Field(default=None, description="A hint.")
    stream: bool = Field(default=False, description="Answer with server-sent events.")
    partial_images: int = Field(default=0, ge=0, le=3, description="Previews in a stream.")
    user: str | None = Field(default=None, description="Goes along as the job's context.")
    safety_identifier: str | None = Field(default=None, description="The same as `user`.")

    @model_validator(mode="before")
    @classmethod
    def _null_counts_as_absent(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return {name: field for name, field in value.items() if field is not None}
        return value

    @property
    def dimensions(self) -> tuple[int, int] | None:
        """Width and height in pixels, where asked for."""
        if self.size in {None, "auto"}:
            return None
        width, _, height = str(self.size).partition("x")
        return int(width), int(height)

    @property
    def context(self) -> JsonValue:
        """Who the images are for, as the job's notifications tell it again."""
        told = {"user": self.user, "safety_identifier": self.safety_identifier}
        if not self.user or self.user == self.safety_identifier:
            told = {"user": self.safety_identifier}
        return {name: person for name, person in told.items() if person} or None


class ImageSource(BaseModel):
    """An image of a request in JSON."""

    model_config = ConfigDict(extra="forbid")

    image_url: str = Field(min_length=1, description="A data URL, or one that agents may fetch.")


class EditsRequest(ImagesRequest):
    """The same with images. In a form they are files, `image` or `image[]`, and `mask`."""

    image: str | Annotated[list[str], Field(max_length=_MOST_IMAGES)] | None = Field(
        default=None, description="URLs, data URLs or base64."
    )
    images: list[ImageSource] | None = Field(default=None, max_length=_MOST_IMAGES)
    mask: str | ImageSource | None = Field(default=None, description="A data URL or base64.")

    @property
    def sources(self) -> list[str]:
        """All images, in their order."""
        single = [self.image] if isinstance(self.image, str) else self.image or []
        return [*single, *(source.image_url for source in self.images or ())]

    @property
    def mask_source(self) -> str | None:
        """The mask, as the images are told."""
        return self.mask.image_url if isinstance(self.mask, ImageSource) else self.mask


def check(body: ImagesRequest, *, links: bool) -> None:
    """Whether its fields go together, and with a gateway that gives links or none.

    Raises:
        Problem: 400; `param` says which does not.
    """
    for name, value in (body.model_extra or {}).items():
        field = name.partition("[")[0]  # as forms write objects
        if field in _NOT_HERE and value not in _ASKS_FOR_NOTHING:
            raise refusal(field, "no runtime here can do that")
    if body.response_format == "url":
        if body.stream:
            raise refusal("response_format", "a stream has no links; ask for b64_json")
        if not links:
            raise refusal("response_format", "this gateway gives no links; ask for b64_json")
    if body.partial_images and not body.stream:
        raise refusal("partial_images", "they come in a stream only; set stream")
    compression = body.output_compression
    if compression not in {None, _FULL_QUALITY} and body.output_format in {None, "png"}:
        raise refusal("output_compression", "PNG files have none; ask for jpeg or webp")


def content_of(body: ImagesRequest, offer: Offer) -> tuple[Content, list[str]]:
    """The portable content for a runtime of that offer, and a warning for each unheeded hint.

    Raises:
        Problem: 400; the runtime cannot honour the field `param`.
    """
    if isinstance(body, EditsRequest) and "init_images" in (body.model_extra or {}):
        raise refusal("init_images", "here the images are those of `image`")
    adapter = offer.adapter
    one = adapter in _WORK_ON_ONE_IMAGE
    if one and isinstance(body, EditsRequest) and len(body.sources) > 1:
        raise refusal("image", "the runtime works on one image at a time")
    extra = {
        name: value for name, value in (body.model_extra or {}).items() if name not in _NOT_HERE
    }
    hints: Content = {name: extra.pop(name, None) for name in _HINTS if name in extra}
    hints |= {"quality": body.quality, "style": body.style}
    content: Content = {"prompt": body.prompt}
    for name, value in [*extra.items(), *_own_fields(body)]:
        portable = _RENAMED.get(name, name)
        if content.setdefault(portable, value) != value:
            raise refusal(
                _NAMES.get(name, name), f"is said otherwise by {_other_name(name, extra)}"
            )
    told: Content = {name: value for name, value in hints.items() if value not in _ASKS_FOR_NOTHING}
    warnings = []
    if adapter == _SPEAKS_THE_DIALECT:
        content |= told
    else:
        content |= _quality_of(told, adapter)
        warnings += [f"{name}: the runtime has no such setting; ignored." for name in sorted(told)]
    if body.moderation != "auto":
        warnings.append("moderation: the operator's check is the same for all; ignored.")
    if body.partial_images and not offer.previews:
        warnings.append("partial_images: the runtime shows none; only whole images come.")
    output_of(body, offer)
    return content | _file_fields(body, offer), warnings


def _quality_of(told: Content, adapter: str | None) -> Content:
    """How much steps may be sped up, taken from the hints where the runtime knows that.

    Raises:
        Problem: 400; it has no such quality.
    """
    if adapter != _HAS_QUALITIES:
        if told.get("quality") == "exact":
            del told["quality"]
        return {}
    try:
        quality = parse_quality(told.pop("quality", None))
    except ValueError as error:
        raise refusal("quality", str(error)) from error
    return {} if quality is None else {"quality": quality}


def _own_fields(body: ImagesRequest) -> Iterator[tuple[str, JsonValue]]:
    """The dialect's fields that portable ones have another name for."""
    if body.n > 1 or ("n" in body.model_fields_set and "batch_size" in (body.model_extra or {})):
        yield "batch_size", body.n
    if body.dimensions:
        yield from zip(("width", "height"), body.dimensions, strict=True)


def _other_name(name: str, extra: Mapping[str, JsonValue]) -> str:
    """Of the field that says what a later one says, too."""
    if name in _NAMES:
        return name
    portable = _RENAMED.get(name, name)
    return next(other for other in extra if _RENAMED.get(other, other) == portable)


def output_of(body: ImagesRequest, offer: Offer) -> OutputOptions | None:
    """How the agent is to deliver the images, where the runtime does not encode as asked.

    Raises:
        Problem: 400; neither does.
    """
    if body.output_format is None or offer.adapter in _ENCODES_AS_ASKED:
        return None
    if body.output_format not in offer.output_formats:
        if body.output_format == "png":
            return None
        raise refusal(
            "output_format", "the runtime makes files of its own format; leave it out, or say png"
        )
    compression = None if body.output_format == "png" else body.output_compression
    quality = None if compression is None else max(1, compression)
    return OutputOptions(format=body.output_format, quality=quality)


def _file_fields(body: ImagesRequest, offer: Offer) -> Content:
    fields: Content = {}
    if body.background == "transparent":
        if offer.adapter != _SPEAKS_THE_DIALECT:
            raise refusal("background", "the runtime makes opaque images only")
        fields["background"] = body.background
    if body.output_format in {None, "png"} or offer.adapter not in _ENCODES_AS_ASKED:
        return fields
    fields["output_format"] = body.output_format
    if body.output_compression is not None:
        fields["output_compression"] = body.output_compression
    return fields


def items(fields: Mapping[str, list[str]]) -> Iterator[tuple[str, JsonValue]]:
    """The fields of a form, each of which may stand once.

    Raises:
        Problem: 400, one stands twice.
    """
    for name, values in fields.items():
        if len(values) > 1:
            raise refusal(name, "stands more than once")
        yield name, values[0]


def refusal(param: str, words: str) -> Problem:
    """That a field cannot be honoured."""
    return Problem(400, "invalid_value", f"{param}: {words}.", param=param)
