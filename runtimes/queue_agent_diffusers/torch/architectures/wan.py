"""Wan 2.1 and 2.2: asks twice a step, for what is wanted and what is not.

The large 2.2 has two transformers, one for the noisy steps and one for the others; the pipeline
says which it asks. The small 2.2 begins with an image or without one, and gives each token a time
of its own. A model that was trained on two images needs both.
"""

import inspect
import math
from typing import Any, Final

import diffusers

from queue_agent_diffusers.torch.architectures.architecture import VIDEO_THRESHOLD, Blocks
from queue_agent_diffusers.torch.architectures.video import VideoArchitecture, VideoPipelines

library: Any = diffusers
"""diffusers ships annotations for some of its names only."""

_SIDE_STEP: Final = 16
"""Which the pipelines insist on, whatever the model's patches."""


def _open(pipeline: Any) -> VideoPipelines:
    transformer = pipeline.transformer or pipeline.transformer_2
    of_tokens = pipeline.config.expand_timesteps
    for_text, for_images = library.WanPipeline, library.WanImageToVideoPipeline
    from_text = _sibling(pipeline, for_text) if of_tokens else _itself(pipeline, for_text)
    from_image = _sibling(pipeline, for_images) if of_tokens else _itself(pipeline, for_images)
    sees_images = transformer.config.image_dim is not None
    sees_two = transformer.config.pos_embed_seq_len is not None
    takes_two = not of_tokens and (sees_two or not sees_images)
    return VideoPipelines(
        from_text=from_text,
        from_image=None if sees_two else from_image,
        between_images=from_image if takes_two else None,
        side_step=math.lcm(
            _SIDE_STEP, pipeline.vae_scale_factor_spatial * transformer.config.patch_size[1]
        ),
        frame_step=pipeline.vae_scale_factor_temporal,
        fps=24 if of_tokens else 16,
    )


def _itself(pipeline: Any, kind: Any) -> Any:
    return pipeline if isinstance(pipeline, kind) else None


def _sibling(pipeline: Any, kind: Any) -> Any:
    if isinstance(pipeline, kind):
        return pipeline
    known = inspect.signature(kind.__init__).parameters
    parts = {name: part for name, part in pipeline.components.items() if name in known}
    config = pipeline.config
    made = kind(
        **parts, boundary_ratio=config.boundary_ratio, expand_timesteps=config.expand_timesteps
    )
    made.set_progress_bar_config(disable=True)
    return made


WAN: Final = VideoArchitecture(
    pipelines=("WanPipeline", "WanImageToVideoPipeline"),
    host_timesteps=True,
    networks=("transformer", "transformer_2"),
    blocks=Blocks(("blocks",), threshold=VIDEO_THRESHOLD),
    open=_open,
)
