"""A pipeline's own call, stopped wherever it asks its network for a prediction.

diffusers' pipelines run their whole denoising loop inside one call. Here the call runs in a
greenlet, and a stand-in takes the place of each network: when the pipeline calls it, the
greenlet hands the arguments out and sleeps until it is given the prediction. Whoever holds
several suspended calls can so answer all of them with one forward pass, while guidance,
scheduler and everything else stay the pipeline's own code, call by call.

Suspended calls belong to the thread that made them.
"""

import copy
import functools
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import greenlet  # type: ignore[import-untyped]  # it ships no annotations
import torch

from queue_agent_diffusers.torch.step_cache import StepCache
from queue_agent_diffusers.torch.uploads import uploading


@dataclass(frozen=True)
class NetworkCall:
    """What a pipeline asks one of its networks for."""

    network: str
    """The pipeline's name for it."""
    arguments: Mapping[str, Any]
    """By name, in the order of the network's own parameters; the first holds the rows."""
    positional: int
    """How many of them were given without their names."""
    cache: StepCache | None = None
    """What the asking sample keeps of earlier answers."""

    @property
    def rows(self) -> int:
        """Twice the images where one call has what is wanted and what is not."""
        return len(next(iter(self.arguments.values())))


@dataclass(frozen=True)
class DecodeCall:
    """What a pipeline asks its autoencoder for, at the end of its loop."""

    latents: torch.Tensor
    arguments: tuple[Any, ...]
    """What follows the latents."""


class SuspendedCall:
    """One call of a pipeline; `asked` is None before its start and after its end."""

    def __init__(
        self,
        pipeline: Any,
        arguments: Mapping[str, object],
        *,
        networks: Sequence[str] = ("unet",),
        outputs: int = 1,
        vae: "Undecoded | None" = None,
    ) -> None:
        """With `vae` in the autoencoder's place the call's result is a `DecodeCall`.

        `outputs` is how many things the networks give; predictions are lists of several.
        """
        twin = copy.copy(pipeline)  # shares the weights; a call keeps state in its pipeline
        # Past the pipeline's __setattr__, which would look for the stand-in in a library.
        for name in networks:
            if getattr(pipeline, name, None) is not None:
                twin.__dict__[name] = _StandIn(name, getattr(pipeline, name), outputs)
        if vae is not None:
            twin.__dict__["vae"] = vae
        self.pipeline = twin
        self.asked: NetworkCall | None = None
        self.result: Any = None
        """What the pipeline returned, once it has ended."""
        self._greenlet = greenlet.greenlet(functools.partial(_call, twin, arguments))

    def start(self) -> None:
        """Run until the network is asked for the first time."""
        self._switch()

    def resume(self, prediction: Any) -> None:
        """Answer what was asked and run until the next question or the end."""
        self._switch(prediction)

    def stop(self) -> None:
        """Unwind the call; harmless at any time."""
        self.asked = None
        if not self._greenlet.dead:
            with torch.no_grad():
                self._greenlet.throw(greenlet.GreenletExit)

    def _switch(self, *answer: Any) -> None:
        self.asked = None
        self._greenlet.parent = greenlet.getcurrent()
        # Modes belong to the thread, so what the call sets ends with each switch.
        with torch.no_grad(), uploading():
            outcome = self._greenlet.switch(*answer)
        if self._greenlet.dead:
            self.result = outcome
        else:
            self.asked = outcome


def _call(pipeline: Any, arguments: Mapping[str, object]) -> Any:
    try:
        return pipeline(**arguments)
    except _WouldDecode as asked:
        return asked.call


class _WouldDecode(BaseException):
    """No `Exception`, so that no pipeline takes it for a failure."""

    def __init__(self, call: DecodeCall) -> None:
        super().__init__()
        self.call = call


class _StandIn:
    """Looks like the network to the pipeline, and hands each call out of the greenlet."""

    def __init__(self, name: str, network: torch.nn.Module, outputs: int) -> None:
        self._name = name
        self._network = network
        self._outputs = outputs

    def __call__(
        self, *arguments: Any, return_dict: bool = False, **options: Any
    ) -> tuple[Any, ...]:
        del return_dict  # only tuples are asked for
        given = ordered(self._network, arguments, options)
        prediction = hand_out(NetworkCall(self._name, given, len(arguments)))
        return (prediction,) if self._outputs == 1 else tuple(prediction)

    def cache_context(self, *_: Any, **__: Any) -> AbstractContextManager[None]:
        """Of the network itself it would begin here, and hold for other calls meanwhile."""
        return nullcontext()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


class Undecoded:
    """Looks like the autoencoder to a pipeline, whose call ends where it asks for pictures."""

    def __init__(self, vae: torch.nn.Module, lock: threading.Lock, seed: int = 0) -> None:
        """`lock` is held by whoever decodes meanwhile: some autoencoders keep state in a pass."""
        self._vae = vae
        self._lock = lock
        self._generator = torch.Generator("cpu").manual_seed(seed)

    def encode(self, *arguments: Any, **options: Any) -> Any:
        """Encode, as the autoencoder itself; what pipelines draw of it follows from the seed."""
        vae: Any = self._vae
        with self._lock:
            encoded = vae.encode(*arguments, **options)
        found = getattr(encoded, "latent_dist", None)
        if found is not None:  # some pipelines draw by what all in the process draw by
            sample, own = found.sample, self._generator
            found.sample = lambda generator=None: sample(own if generator is None else generator)
        return encoded

    def decode(self, latents: torch.Tensor, *arguments: Any, **_: Any) -> Any:
        """End the call, which is to hand out what it would have decoded."""
        raise _WouldDecode(DecodeCall(latents, arguments))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vae, name)


def ordered(network: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a network's call by their names, in the order of its own parameters."""
    names = [name for name in parameter_names(type(network).forward) if name != "return_dict"]
    given = {**dict(zip(names, arguments, strict=False)), **options}
    return {name: given[name] for name in names if name in given}


def hand_out(call: NetworkCall) -> Any:
    """From within a suspended call, ask whoever holds it; the answer."""
    return greenlet.getcurrent().parent.switch(call)


@functools.cache
def parameter_names(forward: Callable[..., Any]) -> tuple[str, ...]:
    """Of a module's method, beside the module itself."""
    return tuple(inspect.signature(forward).parameters)[1:]
