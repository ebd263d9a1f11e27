"""LTX 2: a picture's tokens and a sound's are predicted together, and the sound is not kept.

Beside what is not wanted, which is a second row of the first call, a step asks for the picture with
a block left out and for the picture without the sound. A guidance of 1 turns all three off, as
distilled models need it.
"""

import math
from typing import Any, Final

from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition
from PIL import Image

from queue_agent_diffusers.torch.architectures.architecture import Blocks
from queue_agent_diffusers.torch.architectures.ltx import token_cells
from queue_agent_diffusers.torch.architectures.video import VideoArchitecture, VideoPipelines
from queue_agent_diffusers.torch.forward import RowLayout
from queue_agent_diffusers.torch.siblings import sibling

_SIDE_STEP: Final = 32
"""Which the pipelines insist on, whatever the model's autoencoder."""
_TEXT, _IMAGE, _BETWEEN = "LTX2Pipeline", "LTX2ImageToVideoPipeline", "LTX2ConditionPipeline"
_UNGUIDED: Final[dict[str, object]] = {
    "audio_guidance_scale": 1.0,
    "stg_scale": 0.0,
    "audio_stg_scale": 0.0,
    "modality_scale": 1.0,
    "audio_modality_scale": 1.0,
}


def _open(pipeline: Any) -> VideoPipelines:
    patch = pipeline.transformer_spatial_patch_size
    return VideoPipelines(
        from_text=_as(_TEXT, pipeline),
        from_image=_as(_IMAGE, pipeline),
        between_images=_as(_BETWEEN, pipeline),
        side_step=math.lcm(_SIDE_STEP, pipeline.vae_spatial_compression_ratio * patch),
        frame_step=pipeline.vae_temporal_compression_ratio
        * pipeline.transformer_temporal_patch_size,
        fps=24,
        frames=121,
    )


def _as(kind: str, pipeline: Any) -> Any:
    return pipeline if type(pipeline).__name__ == kind else sibling(kind, pipeline)


def _images(
    pipeline: Any, first: Image.Image, last: Image.Image | None, _frames: int
) -> dict[str, object]:
    if type(pipeline).__name__ != _BETWEEN:
        return {"image": first}
    return {
        "conditions": [
            LTX2VideoCondition(frames=frame, index=index)
            for frame, index in ((first, 0), (last, -1))
        ]
    }


def _more(_pipeline: Any, guidance: float | None) -> dict[str, object]:
    return _UNGUIDED if guidance is not None and guidance <= 1 else {}


LTX2: Final = VideoArchitecture(
    pipelines=(_TEXT, _IMAGE, _BETWEEN),
    layout=RowLayout(outputs=2),
    doubled_above=1.0,
    blocks=Blocks(lists=()),
    open=_open,
    images=_images,
    cells=token_cells,
    more=_more,
)
