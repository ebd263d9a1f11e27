"""Z-Image: rows are lists, of any sizes and prompts, which the transformer pads and masks."""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks
from queue_agent_diffusers.torch.forward import RowLayout
from queue_agent_diffusers.torch.suspended import NetworkCall

_PATCH: Final = 2
"""Cells of a latent a side that are one token, unless the call says otherwise."""


def _image_tokens(call: NetworkCall) -> list[int]:
    """They come before those of the prompt and what pads both."""
    patch = call.arguments.get("patch_size", _PATCH)
    return [
        frames * (height // patch) * (width // patch)
        for _, frames, height, width in (row.shape for row in call.arguments["x"])
    ]


Z_IMAGE: Final = Architecture(
    pipelines=("ZImagePipeline",),
    doubled_above=0.0,
    layout=RowLayout(listed=frozenset({"x", "cap_feats"})),
    blocks=Blocks(("layers",), lengths=_image_tokens),
    side=1024,
)
