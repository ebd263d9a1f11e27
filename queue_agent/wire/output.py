"""How the files of a job are delivered: what publishers ask for, and what operators set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

__all__ = [
    "FORMATS",
    "VIDEO_FORMATS",
    "FileFormat",
    "ImageFormat",
    "MetadataRule",
    "OutputOptions",
    "VideoFormat",
    "WebUIEncoding",
    "format_called",
    "webui_encoding",
]

ImageFormat = Literal["webp", "jpeg", "avif", "png"]
VideoFormat = Literal["mp4", "webm"]
FileFormat = Literal["webp", "jpeg", "avif", "png", "mp4", "webm"]
MetadataRule = Literal["keep", "strip", "minimal"]

FORMATS: Final[tuple[ImageFormat, ...]] = get_args(ImageFormat)
VIDEO_FORMATS: Final[tuple[VideoFormat, ...]] = get_args(VideoFormat)
MEDIA_TYPES: Final[dict[ImageFormat, str]] = {
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "avif": "image/avif",
    "png": "image/png",
}
VIDEO_MEDIA_TYPES: Final[dict[VideoFormat, str]] = {"mp4": "video/mp4", "webm": "video/webm"}
SMALLEST_SIDE: Final = 1
LARGEST_SIDE: Final = 16_384

_OF_WEBUI: Final = {
    "samples_format": "format",
    "jpeg_quality": "quality",
    "webp_lossless": "lossless",
}
_WITHOUT_QUALITY: Final = frozenset({"png"})
_NEVER_LOSSLESS: Final = frozenset({"avif", "jpeg", *VIDEO_FORMATS})
"""AVIF could be; its encoder here rounds colours. Players know no H.264 that is."""


def format_called(name: object) -> ImageFormat | None:
    """The format of images of that name or extension; None: it is none of these."""
    word = str(name).lower().removeprefix("image/")
    return next((one for one in FORMATS if one in {word, {"jpg": "jpeg"}.get(word)}), None)


class OutputOptions(BaseModel):
    """What is done with the files of a job before they are stored; what is left out is not said.

    A file that has the format already, and is not too large, is never encoded again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: FileFormat | None = Field(
        default=None,
        description="What images become, or with `mp4` and `webm` videos; else they keep the "
        "runtime's format.",
    )
    quality: int | None = Field(
        default=None, ge=1, le=100, description="Of what is encoded with losses."
    )
    max_side: int | None = Field(
        default=None,
        ge=SMALLEST_SIDE,
        le=LARGEST_SIDE,
        description="Pixels of the longer side, at most; nothing is made larger.",
    )
    lossless: bool | None = Field(
        default=None, description="Whether WebP is encoded without losses; PNG always is."
    )
    keep_original: bool | None = Field(
        default=None, description="Whether the runtime's own file is stored beside what became."
    )
    metadata: MetadataRule | None = Field(
        default=None,
        description="What stays in the files beside the picture: `keep` all of it, `strip` it "
        "wholly, or `minimal`: only the mark that a model made it.",
    )
    thumbnail: bool | None = Field(
        default=None,
        description="Whether there is a small WebP beside each image, and of a video's first "
        "frame, and a placeholder for it.",
    )
    animated_thumbnail: bool | None = Field(
        default=None,
        description="Whether there is a small WebP beside each video that shows how it begins.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.format in _WITHOUT_QUALITY and self.quality is not None:
            raise ValueError(f"quality: {self.format} files have none")
        if self.format in _NEVER_LOSSLESS and self.lossless:
            raise ValueError(f"lossless: {self.format} files never are here")
        return self

    @property
    def image_format(self) -> ImageFormat | None:
        """The format, if it is one of images."""
        return next((one for one in FORMATS if one == self.format), None)

    @property
    def video_format(self) -> VideoFormat | None:
        """The format, if it is one of videos."""
        return next((one for one in VIDEO_FORMATS if one == self.format), None)

    def over(self, others: "OutputOptions | None") -> "OutputOptions":
        """These, and where they say nothing the others."""
        if others is None:
            return self
        more = {name: value for name, value in others.said.items() if name not in self.said}
        return self.model_copy(update=more)

    @property
    def said(self) -> dict[str, JsonValue]:
        """What is not left out."""
        return self.model_dump(mode="json", exclude_none=True)


@dataclass(frozen=True)
class WebUIEncoding:
    """What the Web UI's settings say of how images are encoded."""

    options: OutputOptions | None = None
    names: tuple[str, ...] = ()
    """Of the settings that say something of it."""
    faults: tuple[str, ...] = ()
    """Which of them have no effect, and why."""


def webui_encoding(settings: Mapping[str, JsonValue]) -> WebUIEncoding:
    """How images are to be encoded by `samples_format`, `jpeg_quality` and `webp_lossless`.

    https://github.com/AUTOMATIC1111/stable-diffusion-webui: ``modules/shared_options.py``.
    """
    names = tuple(name for name in _OF_WEBUI if settings.get(name) is not None)
    given = {_OF_WEBUI[name]: settings[name] for name in names}
    if "format" in given:
        given["format"] = format_called(given["format"]) or given["format"]
    if given.get("format") in _NEVER_LOSSLESS | _WITHOUT_QUALITY:
        given.pop("lossless", None)
    if given.get("format") in _WITHOUT_QUALITY:
        given.pop("quality", None)
    if not given:
        return WebUIEncoding(names=names)
    try:
        return WebUIEncoding(OutputOptions.model_validate(given), names)
    except ValidationError as error:
        own = {value: name for name, value in _OF_WEBUI.items()}
        faults = tuple(
            f"{own[str(fault['loc'][0])]}: has no effect: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        return WebUIEncoding(None, names, faults)
