"""What subscribers receive; strict, since we write it."""

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from queue_agent.wire.errors import QueueAgentError, Unavailable
from queue_agent.wire.estimate import JobEstimate
from queue_agent.wire.shortening import shortened

__all__ = [
    "ErrorReport",
    "Image",
    "ImageVariant",
    "LatestPreview",
    "Notification",
    "Status",
    "Timings",
]

_LONGEST_MESSAGE: Final = 2000
"""Letters of an error's message; what it quotes may have any length."""

Status = Literal["running", "completed", "failed", "cancelled", "expired"]


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ErrorReport(_Written):
    """Why there are no images."""

    type: str = Field(description="Stable snake_case word for programs.")
    message: str = Field(description="One sentence for people, with the other side's own words.")
    retryable: bool = Field(description="Whether publishing the same job again may succeed.")
    final: bool = Field(description="Whether the agent will make no further attempt.")

    @classmethod
    def of(cls, error: QueueAgentError) -> Self:
        return cls(
            type=error.type,
            message=shortened(error.message, _LONGEST_MESSAGE),
            retryable=isinstance(error, Unavailable),
            final=True,
        )


class Timings(_Written):
    """Seconds spent in each step of the journey."""

    queued: float = Field(default=0.0, ge=0, description="From publication to receipt.")
    prepare: float = Field(default=0.0, ge=0, description="Inputs fetched, request translated.")
    wait: float = Field(default=0.0, ge=0, description="Prepared, until the GPU was free.")
    run: float = Field(default=0.0, ge=0, description="On the runtime.")
    outputs: float = Field(default=0.0, ge=0, description="Artifacts converted and marked.")
    store: float = Field(default=0.0, ge=0, description="Artifacts written to the bucket.")


def _is_not_known(value: object) -> bool:
    return value is None


def _is_empty(value: list[object]) -> bool:
    return not value


class ImageVariant(_Written):
    """Another file of the same picture."""

    role: Literal["original", "thumbnail", "animated_thumbnail"] = Field(
        description="`original`: the runtime's own file, which seed and info are about; "
        "`thumbnail`: a small WebP, of a video its first frame; `animated_thumbnail`: one that "
        "shows how a video begins."
    )
    url: str | None = Field(description="Null of an original that is not kept.")
    media_type: str
    width: int | None = Field(default=None, description="Pixels; null where it is no image.")
    height: int | None = Field(default=None, description="Pixels; null where it is no image.")
    bytes: int
    sha256: str = Field(description="Hexadecimal digest of the file.")
    presigned_url: str | None = None


class Image(_Written):
    """One stored artifact. What only videos have is absent where it is not known."""

    url: str
    media_type: str
    width: int | None = Field(default=None, description="Pixels, of an image or a video.")
    height: int | None = Field(default=None, description="Pixels, of an image or a video.")
    bytes: int
    sha256: str = Field(description="Hexadecimal digest of the file.")
    seed: int | None = None
    info: str | None = Field(default=None, description="The runtime's words on how it was made.")
    role: Literal["output", "grid", "extra", "poster"] = Field(
        default="output",
        description="`grid`: a sheet of the outputs; `extra`: a by-product; `poster`: the first "
        "frame of a video, made by the agent.",
    )
    presigned_url: str | None = None
    duration: float | None = Field(
        default=None, exclude_if=_is_not_known, description="Seconds, of a video."
    )
    frames: int | None = Field(
        default=None, exclude_if=_is_not_known, description="How many a video has."
    )
    fps: float | None = Field(
        default=None, exclude_if=_is_not_known, description="Frames a second, on the average."
    )
    codec: str | None = Field(
        default=None,
        exclude_if=_is_not_known,
        description="A video's, as FFmpeg calls it: `h264`, `vp9`, `av1`.",
    )
    poster: str | None = Field(
        default=None,
        exclude_if=_is_not_known,
        description="Where a video's first frame lies; `images` tells of it, too.",
    )
    placeholder: str | None = Field(
        default=None,
        exclude_if=_is_not_known,
        description="What it looks like from afar, as a BlurHash; with a thumbnail.",
    )
    variants: list[ImageVariant] = Field(
        default_factory=list,
        exclude_if=_is_empty,
        description="Other files of the same picture.",
    )

    @property
    def thumbnail(self) -> ImageVariant | None:
        """The small one, if there is one."""
        return next((one for one in self.variants if one.role == "thumbnail"), None)


class LatestPreview(_Written):
    """The latest image of the work under way."""

    url: str = Field(description="Where it lies until the job's end: a JPEG, small and rough.")
    number: int = Field(ge=1, description="How many there were so far, of this attempt.")


class Notification(_Written):
    """What became of one job, or how far it has come (`status` "running")."""

    version: Literal["1"] = "1"
    runtime: str
    id: str
    status: Status
    result: bool = Field(description="True only for `completed`.")
    image_url: list[str] = Field(default_factory=list)
    output_url: str | None = Field(default=None, description="Where the result manifest lies.")
    context: JsonValue = None
    images: list[Image] = Field(default_factory=list)
    progress: float | None = Field(default=None, ge=0, le=1, description="While running.")
    stage: str | None = Field(
        default=None,
        description="What is done before the run, of which `progress` then is: `fetching model …`.",
    )
    preview: LatestPreview | None = Field(
        default=None, description="While running, of a job that asks for `previews`."
    )
    late: Literal[True] | None = Field(
        default=None, description="While running, of a job that will miss its deadline."
    )
    attempt: int = Field(default=1, ge=1, description="How often the message was delivered.")
    redelivered: bool = Field(
        default=False, description="It may have been told before, and told the same."
    )
    timings: Timings = Field(default_factory=Timings)
    gpu_seconds: float | None = Field(
        default=None,
        ge=0,
        description="Of the GPU's time, what the runs of this delivery have used; where several "
        "jobs run at once, each its part. Null or absent where none ran.",
    )
    cost: float | None = Field(
        default=None,
        ge=0,
        description="Of them, by the operator's price for an hour; null or absent without one.",
    )
    estimate: JobEstimate | None = Field(
        default=None, description="What was told when it was submitted, if it was estimated."
    )
    warnings: list[str] = Field(default_factory=list)
    error: ErrorReport | None = None
    callback_url: str | None = Field(default=None, exclude=True, repr=False)
    """Where it also goes as a webhook; not part of what is written."""

    @classmethod
    def read(cls, body: str) -> Self:
        """Read a notification, also one of a newer version.

        Raises:
            ValidationError: it is none.
        """
        return cls.model_validate_json(body, extra="ignore")

    def to_json(self) -> str:
        """The body to publish, in ASCII; without what is said only where there is something."""
        seldom = ("progress", "stage", "preview", "late", "gpu_seconds", "cost", "estimate")
        absent = {name for name in seldom if getattr(self, name) is None}
        if not self.warnings:
            absent.add("warnings")
        return self.model_dump_json(exclude=absent, ensure_ascii=True)

    def fitted(self, limit: int) -> "Notification":
        """This notification, made small enough for a body of `limit` bytes.

        What the manifest holds too goes first: the images' details, then the context, then
        what the error and the warnings quote at length.
        """
        note = "Too large to publish whole; the manifest has the rest."
        error = self.error
        if error is not None:
            error = error.model_copy(update={"message": error.message[:_LONGEST_MESSAGE]})
        bare = [image.model_copy(update={"variants": []}) for image in self.images]
        omissions: tuple[dict[str, object], ...] = (
            {},
            {"images": bare, "warnings": [*self.warnings, note]},
            {"images": [], "warnings": [*self.warnings, note]},
            {"context": None},
            {"error": error, "warnings": [note]},
            {"image_url": []},
        )
        smaller = self
        for omission in omissions:
            smaller = smaller.model_copy(update=omission)
            if len(smaller.to_json()) <= limit:
                break
        return smaller

    @property
    def made(self) -> list[Image]:
        """The files that the runtime made: all but posters."""
        return [image for image in self.images if image.role != "poster"]

    def attributes(self) -> dict[str, str]:
        """Message attributes that subscribers can filter by."""
        return {"runtime": self.runtime, "status": self.status, "id": self.id}
