"""What is done with the files that runs make, where their jobs say nothing else."""

from typing import Final

from queue_agent.settings.reader import Reader, setting
from queue_agent.wire.output import (
    LARGEST_SIDE,
    SMALLEST_SIDE,
    ImageFormat,
    MetadataRule,
    VideoFormat,
)

_MIB: Final = 2**20


class OutputSettings(Reader):
    """Of the agent. Durations are in seconds, sizes in bytes."""

    output_format: ImageFormat | None = setting(
        "OUTPUT_FORMAT",
        default=None,
        description="What images become before they are stored, unless their job says so itself "
        "(`metadata.output`): webp, jpeg, avif or png; else they keep the runtime's format.",
    )
    output_video_format: VideoFormat | None = setting(
        "OUTPUT_VIDEO_FORMAT",
        default=None,
        description="What videos become in the same way: mp4 (H.264) or webm (VP9); needs the "
        "extra video. What either can hold is copied and not encoded anew.",
    )
    output_quality: int | None = setting(
        "OUTPUT_QUALITY",
        default=None,
        ge=1,
        le=100,
        description="Of what is encoded with losses; else 90, and 75 for AVIF and videos.",
    )
    output_max_side: int | None = setting(
        "OUTPUT_MAX_SIDE",
        default=None,
        ge=SMALLEST_SIDE,
        le=LARGEST_SIDE,
        description="Pixels of the longer side of images and videos, at most; else as it was made.",
    )
    output_lossless: bool = setting(
        "OUTPUT_LOSSLESS", default=False, description="Whether WebP is encoded without losses."
    )
    output_keep_original: bool = setting(
        "OUTPUT_KEEP_ORIGINAL",
        default=False,
        description="Whether the runtime's own file is stored beside what became of it.",
    )
    output_metadata: MetadataRule | None = setting(
        "OUTPUT_METADATA",
        default=None,
        description="What stays in files beside the picture: keep, strip (nothing), or minimal "
        "(the mark that a model made it). Else keep; but minimal for files that hold a ComfyUI "
        "workflow, where QUEUE_AGENT_PRESIGN gives links to them.",
    )
    output_thumbnail: bool = setting(
        "OUTPUT_THUMBNAIL",
        default=False,
        description="Whether a small WebP is stored beside each image and video, and a placeholder "
        "told.",
    )
    output_animated_thumbnail: bool = setting(
        "OUTPUT_ANIMATED_THUMBNAIL",
        default=False,
        description="Whether a small WebP that moves is stored beside each video.",
    )
    output_mark: bool = setting(
        "OUTPUT_MARK",
        default=True,
        description="Whether images from which nothing is taken are marked as made by a model "
        "(IPTC digital source type, in XMP).",
    )
    output_processes: int = setting(
        "OUTPUT_PROCESSES",
        default=2,
        ge=1,
        le=64,
        description="Processes that convert files, at most; they are started when needed.",
    )
    output_timeout: float = setting(
        "OUTPUT_TIMEOUT",
        default=60.0,
        gt=0,
        description="Time limit for the conversion of one file; then it is delivered as it is.",
    )
    output_memory: int = setting(
        "OUTPUT_MEMORY",
        default=256 * _MIB,
        gt=0,
        description="Memory for the data of each such process; what needs more is delivered as it "
        "is. The agent's container needs as much beside its own.",
    )
