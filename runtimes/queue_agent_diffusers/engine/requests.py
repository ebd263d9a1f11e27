"""What a job asks for and what it gets: plain values, known to every part of the runtime."""

from dataclasses import dataclass, field

from PIL import Image


@dataclass(frozen=True)
class LoraWeight:
    """A LoRA to apply to the model for one request."""

    name: str
    """File name in the folder of LoRAs, without its extension."""
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
    image: Image.Image | None = field(default=None, repr=False)
    """What to start from, of the size asked for."""
    mask: Image.Image | None = field(default=None, repr=False)
    """White (of mode L) is painted anew."""
    strength: float | None = None
    previews: int = 0
    """How many previews of each image to show on the way."""
    preview_interval: float | None = None
    """Seconds between two looks at the first image that the job keeps; None: it keeps none."""

    @property
    def seeds(self) -> list[int]:
        return [(self.seed + number) % 2**64 for number in range(self.count)]


@dataclass(frozen=True)
class Pictures:
    """What came out of a job, in the order of its seeds."""

    images: list[Image.Image] = field(repr=False)
    warnings: tuple[str, ...] = ()
