"""LTX-Video: what is wanted and what is not are two rows of one call, if guidance is above 1.

Its models are one for text and images; those since 0.9.5 also take images at any place, which is
how a last frame is given, and are called by a pipeline of their own.
"""

import math
from typing import Any, Final

import diffusers
import torch
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
from PIL import Image

from queue_agent_diffusers.torch.architectures.architecture import VIDEO_THRESHOLD, Blocks
from queue_agent_diffusers.torch.architectures.video import (
    VideoArchitecture,
    VideoPipelines,
    whole_default,
)

library: Any = diffusers
"""diffusers ships annotations for some of its names only."""

_SIDE_STEP: Final = 32
"""Which the pipelines insist on, whatever the model's autoencoder."""


def _open(pipeline: Any) -> VideoPipelines:
    conditioned = isinstance(pipeline, library.LTXConditionPipeline)
    patch = pipeline.transformer_spatial_patch_size
    return VideoPipelines(
        from_text=pipeline if conditioned else _sibling(pipeline, library.LTXPipeline),
        from_image=pipeline if conditioned else _sibling(pipeline, library.LTXImageToVideoPipeline),
        between_images=pipeline if conditioned else None,
        side_step=math.lcm(_SIDE_STEP, pipeline.vae_spatial_compression_ratio * patch),
        frame_step=pipeline.vae_temporal_compression_ratio
        * pipeline.transformer_temporal_patch_size,
        fps=whole_default(pipeline, "frame_rate"),
    )


def _sibling(pipeline: Any, kind: Any) -> Any:
    if isinstance(pipeline, kind):
        return pipeline
    made = kind(**pipeline.components)
    made.set_progress_bar_config(disable=True)
    return made


def _images(
    pipeline: Any, first: Image.Image, last: Image.Image | None, frames: int
) -> dict[str, object]:
    if not isinstance(pipeline, library.LTXConditionPipeline):
        return {"image": first}
    given = [LTXVideoCondition(image=first, frame_index=0)]
    if last is not None:
        given.append(LTXVideoCondition(image=last, frame_index=frames - 1))
    return {"conditions": given}


def token_cells(
    pipeline: Any, latents: torch.Tensor, width: int, height: int, frames: int
) -> torch.Tensor:
    """Of tokens; where an image begins the video, those are cells that come after it."""
    if latents.dim() == 5:
        return latents
    patch, frame_patch = (
        pipeline.transformer_spatial_patch_size,
        pipeline.transformer_temporal_patch_size,
    )
    rows, columns = (side // pipeline.vae_spatial_compression_ratio for side in (height, width))
    deep = (frames - 1) // pipeline.vae_temporal_compression_ratio + 1
    own = (deep // frame_patch) * (rows // patch) * (columns // patch)
    cells: torch.Tensor = pipeline._unpack_latents(  # noqa: SLF001  as it does before it decodes
        latents[:, -own:],  # before them are those of images that it is given
        deep,
        rows,
        columns,
        patch,
        frame_patch,
    )
    return cells


LTX: Final = VideoArchitecture(
    pipelines=("LTXPipeline", "LTXImageToVideoPipeline", "LTXConditionPipeline"),
    doubled_above=1.0,
    blocks=Blocks(threshold=VIDEO_THRESHOLD),
    open=_open,
    images=_images,
    cells=token_cells,
)
