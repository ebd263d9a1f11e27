"""What has to be known of a pipeline for videos beside what `architecture` says."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from queue_agent_diffusers.torch.architectures.architecture import Architecture
from queue_agent_diffusers.torch.architectures.cells import video_cells


@dataclass(frozen=True)
class VideoPipelines:
    """A loaded model's pipelines, which share its weights, and what its videos are like."""

    from_text: Any = None
    """None where the model needs an image; likewise below."""
    from_image: Any = None
    between_images: Any = None
    """That takes a last frame beside the first."""
    side_step: int = 16
    """What sides in pixels are multiples of."""
    frame_step: int = 4
    """Of so many frames each latent one is made, but for the first, which is one by itself."""
    fps: int = 16
    """Frames that a second shows, where nobody says so."""
    width: int | None = None
    """Of a video whose shape nobody names; None where the pipeline's call says it."""
    height: int | None = None
    frames: int | None = None
    least_steps: int = 1
    """Of fewer, the pipeline can make no schedule."""

    def natural_frames(self, frames: int) -> int:
        """The number next to that which the model can make."""
        return max(0, round((frames - 1) / self.frame_step)) * self.frame_step + 1


def _no_pipelines(_pipeline: Any) -> VideoPipelines:
    raise NotImplementedError


def _no_more(_pipeline: Any, _guidance: float | None) -> dict[str, object]:
    return {}


def _as_image(
    _pipeline: Any, first: Image.Image, last: Image.Image | None, _frames: int
) -> dict[str, object]:
    return {"image": first} if last is None else {"image": first, "last_image": last}


@dataclass(frozen=True)
class VideoArchitecture(Architecture):
    """One way of a pipeline for videos to call its transformer."""

    open: Callable[[Any], VideoPipelines] = _no_pipelines
    """From the pipeline that was loaded."""
    images: Callable[[Any, Image.Image, Image.Image | None, int], dict[str, object]] = _as_image
    """Arguments of a pipeline's call for the first frame, the last, and the number of frames."""
    cells: Callable[[Any, torch.Tensor, int, int, int], torch.Tensor] = video_cells
    more: Callable[[Any, float | None], dict[str, object]] = _no_more
    """Further arguments of a pipeline's call, by the guidance that is asked for."""


def whole_default(pipeline: Any, name: str) -> int:
    """What the pipeline's call assumes for a whole number."""
    found: int = inspect.signature(type(pipeline).__call__).parameters[name].default
    return found
