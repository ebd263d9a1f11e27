"""The SHA-256 of a ``.safetensors`` file, by its tensors.

The file is the length of its header in eight bytes, the header, and all tensors without a gap:
https://github.com/huggingface/safetensors#format
"""

import hashlib
import json
from collections import deque
from typing import Final

import torch

LENGTH_BYTES: Final = 8
_LONGEST: Final = 100_000_000
"""Bytes of a header; the library refuses more."""


def header_length(begin: bytes) -> int:
    """Bytes until the first tensor, by the file's first eight; 0: it is no such file."""
    length = LENGTH_BYTES + int.from_bytes(begin, "little")
    return length if len(begin) == LENGTH_BYTES and length <= _LONGEST else 0


class TensorHash:
    """Given the tensors in any order; those that come too early are held until their turn."""

    def __init__(self, header: bytes) -> None:
        """`header` is all that comes before the tensors.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        self._hash = hashlib.sha256(header)
        entries = json.loads(header[LENGTH_BYTES:])
        entries.pop("__metadata__", None)
        order = sorted(entries, key=lambda name: entries[name]["data_offsets"])
        self._shapes = {name: list(entries[name]["shape"]) for name in order}
        self._next = deque(order)
        self._early: dict[str, torch.Tensor] = {}

    @property
    def names(self) -> list[str]:
        """Of all the file's tensors, in their order there."""
        return list(self._shapes)

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Take one in; it may be on any device."""
        self._early[name] = tensor
        while self._next and self._next[0] in self._early:
            turn = self._next.popleft()
            found = self._early.pop(turn)
            if list(found.shape) != self._shapes[turn]:
                self._hash.update(b"another shape")  # the file was replaced meanwhile
            self._hash.update(found.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)

    def hexdigest(self) -> str | None:
        """None while a tensor is missing."""
        return None if self._next else self._hash.hexdigest()
