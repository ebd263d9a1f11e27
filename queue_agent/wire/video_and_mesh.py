"""The portable form of jobs for videos and meshes, which adapters of such runtimes understand.

Of the task types ``text-to-video``, ``image-to-video`` and ``image-to-3d``. What a job does not
say is left to the runtime, which knows its model's best. A field that is `null` counts as
absent, and `cfg_scale` is another word for `guidance_scale`.
"""

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import describe_errors
from queue_agent.wire.portable import MAX_SEED, EncodedImage, Lora, Side

__all__ = [
    "FILE_FIELDS",
    "IMAGE_TO_3D",
    "IMAGE_TO_VIDEO",
    "TEXT_TO_VIDEO",
    "VIDEO_TASKS",
    "MeshContent",
    "VideoContent",
    "parse_mesh",
    "parse_video",
]

TEXT_TO_VIDEO: Final = "text-to-video"
IMAGE_TO_VIDEO: Final = "image-to-video"
IMAGE_TO_3D: Final = "image-to-3d"
VIDEO_TASKS: Final = frozenset({TEXT_TO_VIDEO, IMAGE_TO_VIDEO})

FILE_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    TEXT_TO_VIDEO: (),
    IMAGE_TO_VIDEO: ("first_frame", "last_frame", "image"),
    IMAGE_TO_3D: ("image",),
}
"""The fields that hold images, by task type: URLs (references), data URLs or base64."""

_CLIP: Final = frozenset({"seconds", "fps", "frames", "first_frame", "last_frame"})
"""What only a job for a video says."""
_ROUNDING: Final = 1.0
"""Frames: models make one more than whole seconds have, or the count that is next to them."""

Content = TypeVar("Content", bound="_Content")


class _Content(BaseModel):
    """What both forms have."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    prompt: str = ""
    negative_prompt: str = ""
    seed: int = Field(default=-1, ge=-1, le=MAX_SEED, description="-1 for a random one.")
    steps: int | None = Field(default=None, ge=1, le=1000)
    guidance_scale: float | None = Field(
        default=None, ge=0, le=100, description="How close to the prompt; or `cfg_scale`."
    )
    model: str | None = Field(default=None, min_length=1, description="Name of the model.")

    @model_validator(mode="before")
    @classmethod
    def _null_counts_as_absent(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return {name: field for name, field in value.items() if field is not None}
        return value

    @model_validator(mode="before")
    @classmethod
    def _the_other_word_for_guidance(cls, value: object) -> object:
        if isinstance(value, Mapping) and "cfg_scale" in value and "guidance_scale" not in value:
            value = dict(value)
            value["guidance_scale"] = value.pop("cfg_scale")
        return value

    @property
    def unknown_fields(self) -> list[str]:
        """Fields that ask for something this form has no word for, sorted."""
        extras = self.model_extra or {}
        return sorted(name for name, value in extras.items() if value not in ("", [], {}, False))


class VideoContent(_Content):
    """One request for a video."""

    seconds: float | None = Field(default=None, gt=0, le=600, description="How long it is.")
    fps: int | None = Field(default=None, ge=1, le=240, description="Frames shown in a second.")
    frames: int | None = Field(
        default=None,
        ge=1,
        le=20_000,
        description="Its length in frames; with `seconds` and `fps` their product, or 1 beside it.",
    )
    width: Side | None = Field(default=None, description="Pixels; with `height`.")
    height: Side | None = Field(default=None, description="Pixels; with `width`.")
    first_frame: EncodedImage | None = Field(
        default=None, description="Image that it begins with; required for `image-to-video`."
    )
    last_frame: EncodedImage | None = Field(
        default=None, description="Image that it ends with, of models that take one."
    )
    image: EncodedImage | None = Field(default=None, description="Another word for `first_frame`.")
    loras: list[Lora] = Field(default_factory=list, max_length=32)

    @property
    def first(self) -> tuple[str, str] | None:
        """The field that holds the first frame, and what stands there."""
        if self.first_frame is not None:
            return "first_frame", self.first_frame
        return None if self.image is None else ("image", self.image)

    @property
    def frame_count(self) -> int | None:
        """How many frames it has, as far as the job says so."""
        if self.frames is not None or self.seconds is None or self.fps is None:
            return self.frames
        return max(1, round(self.seconds * self.fps))

    @property
    def frame_rate(self) -> int | None:
        """How many of them a second shows, as far as the job says so."""
        if self.fps is not None or self.seconds is None or self.frames is None:
            return self.fps
        return max(1, round(self.frames / self.seconds))


class MeshContent(_Content):
    """One request for a mesh."""

    image: EncodedImage = Field(description="Image of what it is to show.")


def parse_video(content: Mapping[str, JsonValue], task_type: str) -> VideoContent:
    """Read the content of a job for a video.

    Raises:
        Rejected: a field has a wrong type or is out of range, fields contradict each other or
            the task type, or one that it needs is missing (type ``invalid_content``); the
            message names each.
    """
    found = _read(VideoContent, content)
    faults = [*_faults_of_length(found), *_faults_of_task(found, task_type)]
    if faults:
        raise _rejected(" ".join(faults))
    return found


def parse_mesh(content: Mapping[str, JsonValue]) -> MeshContent:
    """Read the content of a job for a mesh.

    Raises:
        Rejected: as by `parse_video`.
    """
    return _read(MeshContent, content)


def video_task_of(content: Mapping[str, object]) -> str | None:
    """The task type that fields of this form ask for; None where none is only a video's."""
    if not any(content.get(name) is not None for name in _CLIP):
        return None
    images = any(content.get(name) for name in FILE_FIELDS[IMAGE_TO_VIDEO])
    return IMAGE_TO_VIDEO if images else TEXT_TO_VIDEO


def _read(form: type[Content], content: Mapping[str, JsonValue]) -> Content:
    try:
        found = form.model_validate(content)
    except ValidationError as error:
        raise Rejected(describe_errors(error), type="invalid_content") from error
    if found.model_extra and "cfg_scale" in found.model_extra:
        raise _rejected("cfg_scale: the same as guidance_scale; say one of them.")
    return found


def _faults_of_length(content: VideoContent) -> Iterator[str]:
    if (content.width is None) != (content.height is None):
        there, missing = ("height", "width") if content.width is None else ("width", "height")
        yield f"{missing}: is needed with {there}."
    seconds, frames, rate = content.seconds, content.frames, content.frame_rate
    if seconds is None or frames is None or rate is None:
        return
    if abs(frames - seconds * rate) <= _ROUNDING:
        return
    if content.fps is None:
        yield f"frames: {frames} in {seconds:g} seconds are no whole number a second; say fps."
    else:
        yield (
            f"frames: {frames} contradicts seconds and fps, which make {seconds * rate:g}; "
            "leave one of the three out."
        )


def _faults_of_task(content: VideoContent, task_type: str) -> Iterator[str]:
    given = [name for name in FILE_FIELDS[IMAGE_TO_VIDEO] if getattr(content, name) is not None]
    if task_type != IMAGE_TO_VIDEO:
        if given:
            yield f"{', '.join(given)}: {task_type} takes no images; {IMAGE_TO_VIDEO} does."
        if not content.prompt.strip():
            yield f"prompt: is required for {task_type}."
        return
    if content.first is None:
        yield "first_frame: an image is required."
    if content.image is not None and content.first_frame not in (None, content.image):
        yield "image: another word for first_frame, which names another; say one of them."


def _rejected(words: str) -> Rejected:
    return Rejected(words, type="invalid_content")
