"""The transformer pipelines whose requests share steps, a small file for each architecture."""

from typing import Any, Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture
from queue_agent_diffusers.torch.architectures.aura_flow import AURA_FLOW
from queue_agent_diffusers.torch.architectures.chroma import CHROMA
from queue_agent_diffusers.torch.architectures.cogvideox import COGVIDEOX
from queue_agent_diffusers.torch.architectures.cogview3 import COGVIEW3
from queue_agent_diffusers.torch.architectures.cogview4 import COGVIEW4
from queue_agent_diffusers.torch.architectures.flux import FLUX
from queue_agent_diffusers.torch.architectures.flux2 import FLUX2
from queue_agent_diffusers.torch.architectures.hidream import HIDREAM
from queue_agent_diffusers.torch.architectures.hunyuan_image import HUNYUAN_IMAGE
from queue_agent_diffusers.torch.architectures.hunyuan_video import HUNYUAN_VIDEO, HUNYUAN_VIDEO_1_5
from queue_agent_diffusers.torch.architectures.ltx import LTX
from queue_agent_diffusers.torch.architectures.ltx2 import LTX2
from queue_agent_diffusers.torch.architectures.lumina2 import LUMINA2
from queue_agent_diffusers.torch.architectures.mochi import MOCHI
from queue_agent_diffusers.torch.architectures.ovis_image import OVIS_IMAGE
from queue_agent_diffusers.torch.architectures.pixart import PIXART
from queue_agent_diffusers.torch.architectures.qwen_image import QWEN_IMAGE
from queue_agent_diffusers.torch.architectures.sana import SANA, SANA_SPRINT
from queue_agent_diffusers.torch.architectures.stable_diffusion_3 import STABLE_DIFFUSION_3
from queue_agent_diffusers.torch.architectures.wan import WAN
from queue_agent_diffusers.torch.architectures.z_image import Z_IMAGE

ARCHITECTURES: Final = (
    FLUX,
    FLUX2,
    STABLE_DIFFUSION_3,
    QWEN_IMAGE,
    PIXART,
    Z_IMAGE,
    CHROMA,
    SANA,
    SANA_SPRINT,
    AURA_FLOW,
    LUMINA2,
    COGVIEW3,
    COGVIEW4,
    OVIS_IMAGE,
    HUNYUAN_IMAGE,
    HIDREAM,
    WAN,
    LTX,
    LTX2,
    HUNYUAN_VIDEO,
    HUNYUAN_VIDEO_1_5,
    COGVIDEOX,
    MOCHI,
)


def architecture_of(pipeline: Any) -> Architecture | None:
    """What is known of how a pipeline uses its transformer; None: it is served unbatched."""
    name = type(pipeline).__name__
    return next((known for known in ARCHITECTURES if name in known.pipelines), None)
