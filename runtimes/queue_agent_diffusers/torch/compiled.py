"""Blocks of a network run by something faster that may fail, and then as they are.

Each repeated block is compiled for itself, so that its code is made once and used by all:
https://docs.pytorch.org/tutorials/recipes/regional_compilation.html
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch

from queue_agent_diffusers.torch.memory import is_out_of_memory

SHAPES: Final = 64
"""So many shapes of a block are compiled; torch runs others as they are."""

compiler: Any = torch.compiler
"""Not all of it is annotated."""
_log = logging.getLogger(__name__)


class Fallback:
    """Whether blocks run fast still; told in the log once when they do no more."""

    def __init__(self, what: str, undo: Callable[[], None] = lambda: None) -> None:
        """`undo` takes back what was set on the network beside its blocks."""
        self.failure: Exception | None = None
        self._what = what
        self._undo = undo

    def give_up(self, error: Exception) -> None:
        """Run all of them as they are from now on."""
        if self.failure is None:
            self.failure = error
            said = (str(error).splitlines() or [""])[0]
            _log.warning(
                "%s failed, and is not used from now on: %s: %s",
                self._what,
                type(error).__name__,
                said,
            )
            self._undo()


class GuardedForward:
    """A block's forward pass: the fast one, or where that fails the plain one, at once."""

    def __init__(
        self, fast: Callable[..., Any], plain: Callable[..., Any], fallback: Fallback
    ) -> None:
        self._fast = fast
        self._plain = plain
        self._fallback = fallback

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Raise what the plain pass raises; running out of memory is the caller's to handle."""
        if self._fallback.failure is not None:
            return self._plain(*arguments, **options)
        try:
            return self._fast(*arguments, **options)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self._fallback.give_up(error)
        return self._plain(*arguments, **options)


def guard_blocks(network: Any, fallback: Fallback) -> None:
    """Let blocks that fail by what was set on the network run again without."""
    for block in repeated_blocks(network):
        block.forward = GuardedForward(block.forward, block.forward, fallback)


def compile_blocks(network: Any, fallback: Fallback, *, backend: Any = "inductor") -> None:
    """Compile each repeated block; which sizes vary torch finds out."""
    compiler.config.recompile_limit = max(compiler.config.recompile_limit, SHAPES)
    for block in repeated_blocks(network):
        fast = torch.compile(block.forward, backend=backend)
        block.forward = GuardedForward(fast, block.forward, fallback)


def repeated_blocks(network: Any) -> Sequence[torch.nn.Module]:
    """Those that diffusers names as worth to be compiled, or none."""
    names = getattr(network, "_repeated_blocks", None) or ()
    return [part for part in network.modules() if type(part).__name__ in names]
