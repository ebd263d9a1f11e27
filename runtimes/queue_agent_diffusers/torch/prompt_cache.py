"""Encoded prompts that are remembered, so that equal ones are encoded once."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import torch
from cachetools import LRUCache

REMEMBERED_BYTES: Final = 256 * 2**20
"""Of one model's prompts together: hundreds of Stable Diffusion's, dozens of the largest ones'."""
_PLAIN: Final = (str, int, float, bool, torch.device, torch.dtype, type(None))


class PromptCache:
    """What a model's pipelines made of prompts, those seen longest ago forgotten first."""

    def __init__(self) -> None:
        self._known: LRUCache[Hashable, Any] = LRUCache(REMEMBERED_BYTES, getsizeof=_bytes)

    def remembering(
        self, encode: Callable[..., Any], key: Hashable, prepare: Callable[[], None]
    ) -> Callable[..., Any]:
        """`encode_prompt` of a pipeline that asks here first; `prepare` comes before it encodes."""

        def encoded(*arguments: Any, **options: Any) -> Any:
            if not _is_plain((arguments, options)):
                prepare()
                return encode(*arguments, **options)
            asked = (key, repr(arguments), repr(sorted(options.items())))
            if asked not in self._known:
                prepare()
                made = encode(*arguments, **options)
                if _bytes(made) > self._known.maxsize:
                    return made
                self._known[asked] = made
            return self._known[asked]

        return encoded

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()


def _is_plain(value: object) -> bool:
    """Whether its repr says all of it."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def _bytes(value: object) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return 1
