"""Mochi: what is wanted and what is not are two rows of one call, if guidance is above 1.

Prompts are padded to one length, and a mask has an entry for each token of each row.
"""

from typing import Any, Final

from queue_agent_diffusers.torch.architectures.architecture import VIDEO_THRESHOLD, Blocks
from queue_agent_diffusers.torch.architectures.video import VideoArchitecture, VideoPipelines


def _open(pipeline: Any) -> VideoPipelines:
    return VideoPipelines(
        from_text=pipeline,
        side_step=pipeline.vae_spatial_scale_factor * pipeline.patch_size,
        frame_step=pipeline.vae_temporal_scale_factor,
        fps=30,
        width=pipeline.default_width,
        height=pipeline.default_height,
        least_steps=2,
    )


MOCHI: Final = VideoArchitecture(
    pipelines=("MochiPipeline",),
    doubled_above=1.0,
    blocks=Blocks(shared=frozenset({"image_rotary_emb"}), threshold=VIDEO_THRESHOLD),
    open=_open,
)
