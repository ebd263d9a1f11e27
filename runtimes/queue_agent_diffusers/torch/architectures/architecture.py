"""What has to be known of a pipeline, that its requests can share passes of its transformer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from queue_agent_diffusers.torch.architectures.cells import image_cells
from queue_agent_diffusers.torch.forward import ROWS, RowLayout
from queue_agent_diffusers.torch.suspended import NetworkCall

Finish = Callable[[Any, torch.Tensor], torch.Tensor]
"""From the pipeline's image processor and what was decoded to what the processor is given."""


def as_decoded(_processor: Any, decoded: torch.Tensor) -> torch.Tensor:
    """Nothing is between."""
    return decoded


VIDEO_THRESHOLD: Final = 0.05
"""For what moves: see `Blocks.threshold`."""


@dataclass(frozen=True)
class Blocks:
    """What a network runs one after another, between what comes before and what follows."""

    lists: tuple[str, ...] = ("transformer_blocks",)
    """The network's names for them, in their order; none: no block can be left out."""
    shared: frozenset[str] = frozenset()
    """Arguments of blocks that hold for all rows; of others, tensors have one entry for each."""
    halves: frozenset[str] = frozenset()
    """Arguments that may have two entries for each row, the second ones after all first ones."""
    threshold: float = 0.12
    """Relative change of what the first block adds, above which First-Block-Cache computes all."""
    lengths: Callable[[NetworkCall], Sequence[int]] | None = None
    """Tokens of each row of a call, where rows of a pass are padded to the longest."""
    forms: tuple[tuple[int, int | None], ...] = ()
    """Where a block's output has the image's tokens and the text's, if they are apart, by list.

    Empty where diffusers' own registry knows the blocks.
    """


@dataclass(frozen=True)
class Architecture:
    """One way of a pipeline to call its transformer."""

    pipelines: tuple[str, ...]
    """The classes that are loaded; their siblings for images and masks call it alike."""
    layout: RowLayout = ROWS
    doubled_above: float | None = None
    """Guidance above which an image has two rows in a call; None: it has one, in a call or two."""
    networks: tuple[str, ...] = ("transformer",)
    blocks: Blocks = Blocks()
    host_timesteps: bool = False
    """See `BatchedModel`. Not where pipelines compute with more than single numbers of them."""
    side: int | None = None
    """Of an image whose size nobody names; None where the pipeline says it."""
    finish: Callable[[int, int], Finish] = lambda _width, _height: as_decoded
    """For a size asked for, what the pipeline does between decoding and the picture."""
    cells: Callable[[Any, torch.Tensor, int, int, int], torch.Tensor] = image_cells
    """Of a pipeline, its latents on their way, and the result's width, height and frames."""

    def natural_side(self, pipeline: Any) -> int:
        """Of an image whose size nobody names, in pixels."""
        if self.side is not None:
            return self.side
        own = getattr(pipeline, "default_sample_size", None)
        return int((own or pipeline.transformer.config.sample_size) * pipeline.vae_scale_factor)
