"""HunyuanVideo: guidance is a number that the transformer is given, so a video has one row.

With `true_cfg_scale` and a negative prompt the pipeline asks twice a step. Of 1.5, the model's
guider says what is asked for, one after the other. Prompts are padded to one length, and a mask has
an entry for each token of each row.
"""

import dataclasses
import math
from typing import Any, Final

from queue_agent_diffusers.torch.architectures.architecture import VIDEO_THRESHOLD, Blocks
from queue_agent_diffusers.torch.architectures.video import VideoArchitecture, VideoPipelines

_SIDE_STEP: Final = 16
"""Which the pipelines insist on, whatever the model's patches."""


def _open(pipeline: Any) -> VideoPipelines:
    patch = pipeline.transformer.config.patch_size
    return VideoPipelines(
        from_text=pipeline,
        side_step=math.lcm(_SIDE_STEP, pipeline.vae_scale_factor_spatial * patch),
        frame_step=pipeline.vae_scale_factor_temporal,
        fps=24,
    )


def _open_newer(pipeline: Any) -> VideoPipelines:
    across, down = pipeline.default_aspect_ratio
    height, width = pipeline.video_processor.calculate_default_height_width(
        down, across, pipeline.target_size
    )
    return dataclasses.replace(_open(pipeline), width=int(width), height=int(height))


HUNYUAN_VIDEO: Final = VideoArchitecture(
    pipelines=("HunyuanVideoPipeline",),
    blocks=Blocks(
        ("transformer_blocks", "single_transformer_blocks"),
        frozenset({"image_rotary_emb"}),
        threshold=VIDEO_THRESHOLD,
    ),
    open=_open,
)

HUNYUAN_VIDEO_1_5: Final = VideoArchitecture(
    pipelines=("HunyuanVideo15Pipeline",),
    blocks=Blocks(
        shared=frozenset({"freqs_cis"}),
        threshold=VIDEO_THRESHOLD,
        forms=((0, 1),),
    ),
    open=_open_newer,
)
