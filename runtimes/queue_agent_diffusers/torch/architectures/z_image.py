"""Z-Image: rows are lists, of any sizes and prompts, which the transformer pads and masks."""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture
from queue_agent_diffusers.torch.forward import RowLayout

Z_IMAGE: Final = Architecture(
    pipelines=("ZImagePipeline",),
    doubled_above=0.0,
    layout=RowLayout(listed=frozenset({"x", "cap_feats"})),
    side=1024,
)
