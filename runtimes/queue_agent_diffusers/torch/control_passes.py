"""ControlNets of many suspended calls, each of which is asked for all in one pass.

A pipeline asks its ControlNets before its network. Here they hand the question out, as the network
does (`suspended`), so that rows which the same one leads go through it together. How strongly it
leads is a factor of what it gives, so that rows of a pass may have their own.
"""

import copy
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import torch

from queue_agent_diffusers.torch import forward
from queue_agent_diffusers.torch.forward import ROWS, RowLayout
from queue_agent_diffusers.torch.suspended import NetworkCall, SuspendedCall, hand_out, ordered

_SCALE: Final = "conditioning_scale"
_MODE: Final = "controlnet_mode"
"""That of Flux's only a network for several kinds of images heeds."""
_IMAGES: Final = "controlnet_cond"
"""A list where one network heeds several images at a time."""
_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks")


@dataclass(frozen=True)
class ControlCall(NetworkCall):
    """What a pipeline asks a ControlNet for."""

    net: Any = None
    scale: float = 1.0
    layout: RowLayout = ROWS
    later: frozenset[int] = frozenset()
    """The ControlNets that the same step asks after this one, by their ids."""


class _Led(Protocol):
    call: SuspendedCall | None


def asking(control_net: Any, layout: RowLayout) -> Any:
    """In place of a pipeline's ControlNet, or of several: what hands each question out.

    `layout` is that of the model's network, which is asked in like words.
    """
    layout = replace(layout, stacked=layout.stacked | {_IMAGES})
    several = getattr(control_net, "nets", None)
    if several is None:
        return _asking(control_net, layout, frozenset())
    nets = list(several)
    own = [
        _asking(net, layout, frozenset(id(other) for other in nets[place + 1 :]))
        for place, net in enumerate(nets)
    ]
    return type(control_net)(own)


def answer_together(
    led: Sequence[_Led], check: Callable[[Any, Sequence[NetworkCall]], None] = lambda *_: None
) -> None:
    """Bring those that ask a ControlNet on to what they ask their network for, or to their end.

    `check` raises where a pass of a ControlNet for some is not to be made. Who was brought on
    before something failed goes on from there.
    """
    while waiting := list(_waiting(led)):
        later = {net for _, call in waiting for net in call.later}
        # Who asks one that others will ask later waits for them, unless they wait for each other.
        ready = [(one, call) for one, call in waiting if id(call.net) not in later] or waiting
        kinds = [(id(call.net), _kind(call)) for _, call in ready]
        for kind in dict.fromkeys(kinds):
            together = [pair for pair, own in zip(ready, kinds, strict=True) if own == kind]
            calls = [call for _, call in together]
            check(calls[0].net, calls)
            with torch.no_grad():
                answers = forward.answers(calls[0].net, calls, calls[0].layout)
            for (suspended, call), answer in zip(together, answers, strict=True):
                suspended.resume(_times(answer, call.scale))


def _waiting(led: Sequence[_Led]) -> Iterator[tuple[SuspendedCall, ControlCall]]:
    for one in led:
        if one.call is not None and isinstance(one.call.asked, ControlCall):
            yield one.call, one.call.asked


def _kind(call: ControlCall) -> Hashable:
    # Where rows are of any length, what is said of them is as long as the longest of the pass.
    return id(call) if call.layout.listed else forward.kind(call, call.layout)


def _asking(net: Any, layout: RowLayout, later: frozenset[int]) -> Any:
    """The same module, for whoever looks at it, which is not asked itself."""
    twin = copy.copy(net)
    for name in _HOOKS:
        twin.__dict__[name] = {}

    def ask(*arguments: Any, return_dict: bool = True, **options: Any) -> Any:
        del return_dict  # only tuples are asked for
        given = ordered(net, arguments, options)
        scale = 1.0 if layout.listed else _factor(given)
        # What is not said goes by itself, as where several are asked or one.
        told = {name: value for name, value in given.items() if value is not None}
        if not getattr(net, "union", True):
            told.pop(_MODE, None)
        return hand_out(
            ControlCall("controlnet", told, 0, net=net, scale=scale, layout=layout, later=later)
        )

    twin.__dict__["forward"] = ask
    return twin


def _factor(given: dict[str, Any]) -> float:
    """Takes out of the arguments what their answer is multiplied by."""
    scale = given.pop(_SCALE, 1.0)
    if not isinstance(scale, list):
        return float(scale)
    if len(scale) == 1:
        return float(scale[0])
    given[_SCALE] = scale  # each is a factor of one image's part in the answer
    return 1.0


def _times(answer: Any, scale: float) -> Any:
    if scale == 1 or answer is None:
        return answer
    if isinstance(answer, torch.Tensor):
        return answer * scale
    return type(answer)(_times(part, scale) for part in answer)
