"""A pipeline's own call, stopped wherever it asks its network for a prediction.

diffusers' pipelines run their whole denoising loop inside one call. Here the call runs in a
greenlet, and a stand-in takes the place of the network: when the pipeline calls it, the
greenlet hands the arguments out and sleeps until it is given the prediction. Whoever holds
several suspended calls can so answer all of them with one forward pass, while guidance,
scheduler and everything else stay the pipeline's own code, call by call.

Suspended calls belong to the thread that made them.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import greenlet  # type: ignore[import-untyped]  # it ships no annotations
import torch

NETWORK: Final = "unet"


@dataclass(frozen=True)
class NetworkCall:
    """What a pipeline asks its network for."""

    sample: torch.Tensor
    """Rows of scaled latents: twice the images where there is guidance."""
    timestep: torch.Tensor
    options: Mapping[str, Any]
    """The network's other arguments by name."""


class SuspendedCall:
    """One call of a pipeline; `asked` is None before its start and after its end."""

    def __init__(self, pipeline: Any, arguments: Mapping[str, object]) -> None:
        twin = copy.copy(pipeline)  # shares the weights; a call keeps state in its pipeline
        # Past the pipeline's __setattr__, which would look for the stand-in in a library.
        twin.__dict__[NETWORK] = _StandIn(getattr(pipeline, NETWORK))
        self.pipeline = twin
        self.asked: NetworkCall | None = None
        self.result: Any = None
        """What the pipeline returned, once it has ended."""
        self._greenlet = greenlet.greenlet(lambda: twin(**arguments))

    def start(self) -> None:
        """Run until the network is asked for the first time."""
        self._switch()

    def resume(self, prediction: torch.Tensor) -> None:
        """Answer what was asked and run until the next question or the end."""
        self._switch(prediction)

    def stop(self) -> None:
        """Unwind the call; harmless at any time."""
        self.asked = None
        if not self._greenlet.dead:
            with torch.no_grad():
                self._greenlet.throw(greenlet.GreenletExit)

    def _switch(self, *answer: torch.Tensor) -> None:
        self.asked = None
        self._greenlet.parent = greenlet.getcurrent()
        # Gradient mode belongs to the thread, so what the call sets ends with each switch.
        with torch.no_grad():
            outcome = self._greenlet.switch(*answer)
        if self._greenlet.dead:
            self.result = outcome
        else:
            self.asked = outcome


class _StandIn:
    """Looks like the network to the pipeline, and hands each call out of the greenlet."""

    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network

    def __call__(
        self, sample: torch.Tensor, timestep: torch.Tensor, **options: Any
    ) -> tuple[torch.Tensor]:
        call = NetworkCall(sample, timestep, options)
        return (greenlet.getcurrent().parent.switch(call),)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)
