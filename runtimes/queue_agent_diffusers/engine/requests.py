"""What a job asks for and what it gets: plain values, known to every part of the runtime."""

import os
import secrets
import weakref
from dataclasses import dataclass, field, replace

from PIL import Image

from queue_agent.wire.quality import Quality


@dataclass(frozen=True)
class LoraWeight:
    """A LoRA to apply to the model for one request."""

    name: str
    """File name in the folder of LoRAs, without its extension."""
    scale: float = 1.0


@dataclass(frozen=True)
class Clip:
    """What a request for a video says beside what one for an image does."""

    frames: int | None = None
    """The nearest number that the model can make is made."""
    seconds: float | None = None
    """Its length, where `frames` does not say it."""
    fps: int | None = None
    """Frames that a second shows; None: as many as the model was made for."""
    last_frame: Image.Image | None = field(default=None, repr=False)
    """What it ends with; what it begins with is the request's `image`."""


@dataclass(frozen=True)
class ControlInput:
    """An image that a ControlNet leads the request by."""

    name: str
    """Of one that the server was started with."""
    image: Image.Image = field(repr=False)
    """Of the size asked for."""
    scale: float = 1.0
    start: float = 0.0
    """Share of the steps at which it begins to lead, and `end` where it ends."""
    end: float = 1.0
    mode: str | None = None
    """What kind of image it is, for one that heeds several."""


@dataclass(frozen=True)
class ImagePrompt:
    """An image that stands beside the prompt, by an IP-Adapter."""

    name: str
    """Of one that the server was started with."""
    image: Image.Image = field(repr=False)
    """Of any size."""
    scale: float = 1.0


@dataclass(frozen=True)
class ImageRequest:
    """What to generate; None leaves the choice to the model."""

    prompt: str
    seed: int
    """Of the first image; image i has seed + i."""
    model: str | None = None
    """One of the served names; None for the first."""
    negative_prompt: str | None = None
    count: int = 1
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    scheduler: str | None = None
    """Name of a sampler, with or without a noise schedule; see `queue_agent.wire.samplers`."""
    loras: tuple[LoraWeight, ...] = ()
    controls: tuple[ControlInput, ...] = ()
    image_prompts: tuple[ImagePrompt, ...] = ()
    quality: Quality | None = None
    image: Image.Image | None = field(default=None, repr=False)
    """What to start from, of the size asked for."""
    references: tuple[Image.Image, ...] = field(default=(), repr=False)
    """What to look at beside `image`, of any sizes, for models that look at several."""
    mask: Image.Image | None = field(default=None, repr=False)
    """White (of mode L) is painted anew."""
    strength: float | None = None
    enlarge: bool = False
    """Whether `image` is only to become as large as `width` and `height` say."""
    previews: int = 0
    """How many previews of each image to show on the way."""
    preview_interval: float | None = None
    """Seconds between two looks at the first image that the job keeps; None: it keeps none."""
    clip: Clip | None = None
    """Of a video; None where images are asked for."""

    @property
    def pixels(self) -> int | None:
        """Of an image, or of all frames of a video; None where the model chooses."""
        frames = 1 if self.clip is None else self.clip.frames
        if self.width is None or self.height is None or frames is None:
            return None
        return self.width * self.height * frames

    def without_pictures(self) -> "ImageRequest":
        """What it says in words and numbers."""
        return replace(
            self, image=None, references=(), mask=None, clip=None, controls=(), image_prompts=()
        )

    @property
    def seeds(self) -> list[int]:
        return [(self.seed + number) % 2**64 for number in range(self.count)]


@dataclass(frozen=True, eq=False)
class VideoFile:
    """One video; its file is gone with the object."""

    descriptor: int
    """Of an MP4 on disk, which has no name there; closed with the object."""
    frames: int
    fps: int
    width: int
    height: int
    tag: str = field(default_factory=lambda: f'"{secrets.token_hex(16)}"')
    """An `ETag`: no other file has it."""

    def __post_init__(self) -> None:
        weakref.finalize(self, os.close, self.descriptor)

    @property
    def seconds(self) -> float:
        return self.frames / self.fps

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self.descriptor).st_size

    def read(self, start: int, length: int) -> bytes:
        """Bytes of the file, in any thread; none at its end."""
        return os.pread(self.descriptor, length, start)


@dataclass(frozen=True)
class Pictures:
    """What came out of a job, in the order of its seeds: images or videos."""

    images: list[Image.Image] = field(repr=False)
    warnings: tuple[str, ...] = ()
    videos: tuple[VideoFile, ...] = ()
