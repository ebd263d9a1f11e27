"""HiDream: what is wanted and what is not are two rows of one call.

Of one text encoder all layers are given, of which each block reads its own, so that what follows
the first block cannot be left out.
"""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks
from queue_agent_diffusers.torch.forward import RowLayout

HIDREAM: Final = Architecture(
    pipelines=("HiDreamImagePipeline",),
    doubled_above=1.0,
    layout=RowLayout(second=frozenset({"encoder_hidden_states_llama3"})),
    blocks=Blocks(lists=()),
)
