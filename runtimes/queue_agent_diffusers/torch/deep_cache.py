"""DeepCache, decided for each image by itself: https://arxiv.org/abs/2312.00858.

What a UNet makes deep within changes little from step to step. At most steps an image therefore
goes through the outermost layers alone, and what all others gave in its last whole pass is given
again. The package that diffusers' documentation names for it
(https://huggingface.co/docs/diffusers/optimization/deepcache), whose schedule and layers these are,
keeps one state for all rows of a call; here each image has its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch

from queue_agent_diffusers.torch.step_cache import StepCache
from queue_agent_diffusers.torch.suspended import NetworkCall

_UP_BLOCKS: Final = ("UpBlock2D", "CrossAttnUpBlock2D")


class DeepCache(StepCache):
    """Of one question of one sample."""

    def __init__(self, interval: int) -> None:
        """A whole pass is made at every `interval`th step, from the first on."""
        self.deep: torch.Tensor | None = None
        """What goes into the last layer, of the last whole pass."""
        self.computed: torch.Tensor | None = None
        """The same, of the pass at hand."""
        self._interval = interval
        self._step = 0

    @property
    def skips(self) -> bool:
        """All layers but the outermost."""
        return self.deep is not None and self._step % self._interval != 0

    def foreseen(self) -> None:
        """The outermost layers are asked at each step."""

    def answered(self, prediction: Any) -> bool:
        """Keep what was computed for it."""
        del prediction
        self._step += 1
        if self.computed is None:
            return False
        self.deep, self.computed = self.computed, None
        return True


def has_depth(unet: Any) -> bool:
    """Whether the UNet ends as this module takes it."""
    last = unet.up_blocks[-1]
    return type(last).__name__ in _UP_BLOCKS and len(last.resnets) > 1


@contextmanager
def deep_caching(unet: Any, calls: Sequence[NetworkCall]) -> Iterator[None]:
    """Within it, a pass of the UNet for these calls uses their caches, or fills them.

    All of them skip, or none; those without a `DeepCache` do not. Layers are called as they are,
    compiled or not.
    """
    caches = [call.cache if isinstance(call.cache, DeepCache) else None for call in calls]
    if caches[0] and caches[0].skips:
        kept = [cache.deep for cache in caches if cache and cache.deep is not None]
        with _outermost_only(unet, torch.cat(kept)):
            yield
        return
    given: list[torch.Tensor] = []
    inner = _layers(unet.up_blocks[-1])[-2]
    hook = inner.register_forward_hook(lambda _layer, _taken, made: given.append(_first(made)))
    try:
        yield
    finally:
        hook.remove()
    rows = torch.split(given[-1], [call.rows for call in calls])
    for cache, own in zip(caches, rows, strict=True):
        if cache:
            cache.computed = own.clone()  # or it would hold those of all


@contextmanager
def _outermost_only(unet: Any, deep: torch.Tensor) -> Iterator[None]:
    last = unet.up_blocks[-1]
    layers = len(last.resnets)
    inner = {"resnets": [*[_Given(deep)] * (layers - 1), last.resnets[-1]]}
    if _layers(last) is not last.resnets:
        inner["attentions"] = [*[_Given((deep,))] * (layers - 1), last.attentions[-1]]
    blocks = {
        "down_blocks": [_Passing(block, _outputs(block)) for block in unet.down_blocks],
        "mid_block": unet.mid_block and _Passing(unet.mid_block),
        "up_blocks": [*map(_Passing, unet.up_blocks[:-1]), last],
    }
    with ExitStack() as replaced:
        for part, own in ((unet, blocks), (last, inner)):
            # Found before the module's own, which stay as they are.
            part.__dict__.update(own)
            for name in own:
                replaced.callback(part.__dict__.pop, name)
        yield


class _Passing:
    """Stands for a block in one pass, and gives what it is given."""

    def __init__(self, block: Any, outputs: int | None = None) -> None:
        """Of so many `outputs`, whose sizes alone are looked at, beside it."""
        self._block = block
        self._outputs = outputs

    def __call__(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        if self._outputs is None:
            return hidden_states
        return hidden_states, (hidden_states,) * self._outputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._block, name)


class _Given:
    """Stands for a layer in one pass, and gives what was kept."""

    def __init__(self, kept: Any) -> None:
        self._kept = kept

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self._kept


def _layers(block: Any) -> Sequence[Any]:
    """What ends each layer of a block."""
    layers: Sequence[Any] = getattr(block, "attentions", None) or block.resnets
    return layers


def _outputs(block: Any) -> int:
    """How many outputs of a block further up are used."""
    return len(block.resnets) + (block.downsamplers is not None)


def _first(made: Any) -> torch.Tensor:
    first: torch.Tensor = made[0] if isinstance(made, tuple) else made
    return first
