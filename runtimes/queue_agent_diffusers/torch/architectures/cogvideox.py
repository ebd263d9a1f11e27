"""CogVideoX: what is wanted and what is not are two rows of one call, if guidance is above 1.

Its models are for text or for images, each with a pipeline of its own; frames come before channels.
"""

from typing import Any, Final

import torch

from queue_agent_diffusers.torch.architectures.architecture import VIDEO_THRESHOLD, Blocks
from queue_agent_diffusers.torch.architectures.video import VideoArchitecture, VideoPipelines
from queue_agent_diffusers.torch.forward import RowLayout

_FROM_IMAGE: Final = "CogVideoXImageToVideoPipeline"
_NEWER: Final[dict[str, int]] = {"width": 1360, "height": 768, "frames": 81, "fps": 16}
"""For CogVideoX 1.5, by its model card; what its configuration has are the largest."""


def _open(pipeline: Any) -> VideoPipelines:
    config = pipeline.transformer.config
    spatial, temporal = pipeline.vae_scale_factor_spatial, pipeline.vae_scale_factor_temporal
    takes_image = type(pipeline).__name__ == _FROM_IMAGE
    natural = {
        "width": config.sample_width * spatial,
        "height": config.sample_height * spatial,
        "frames": config.sample_frames,
        "fps": 8,
    }
    return VideoPipelines(
        from_text=None if takes_image else pipeline,
        from_image=pipeline if takes_image else None,
        side_step=spatial * config.patch_size,
        frame_step=temporal,
        **(_NEWER if config.patch_size_t else natural),
    )


def _cells(
    pipeline: Any, latents: torch.Tensor, _width: int, _height: int, frames: int
) -> torch.Tensor:
    """Without the frames that fill up the first token."""
    own = (frames - 1) // pipeline.vae_scale_factor_temporal + 1
    return latents[:, -own:].transpose(1, 2)


COGVIDEOX: Final = VideoArchitecture(
    pipelines=("CogVideoXPipeline", _FROM_IMAGE),
    host_timesteps=True,
    layout=RowLayout(shared=frozenset({"image_rotary_emb", "ofs"})),
    doubled_above=1.0,
    blocks=Blocks(shared=frozenset({"image_rotary_emb"}), threshold=VIDEO_THRESHOLD),
    open=_open,
    cells=_cells,
)
