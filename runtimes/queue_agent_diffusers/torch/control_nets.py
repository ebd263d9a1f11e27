"""ControlNets that requests may name: those of the operator's that suit the model.

What they add to the network's layers goes with a request's rows into the pass that all share; how
they are asked themselves is in `control_passes`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from queue_agent_diffusers.engine.requests import ControlInput, ImageRequest
from queue_agent_diffusers.errors import InvalidRequest, ModelUnreadable, UnknownInput
from queue_agent_diffusers.torch.control_kinds import ControlKind, control_kind
from queue_agent_diffusers.torch.fingerprints import module_fingerprint
from queue_agent_diffusers.torch.siblings import library, sibling
from queue_agent_diffusers.torch.unreadable import (
    UNREADABLE,
    raise_if_of_the_device,
    whole_model,
)


@dataclass(frozen=True)
class ControlNet:
    """One that requests may name."""

    network: Any
    kind: ControlKind
    modes: Mapping[str, int] = field(default_factory=dict)
    """Of a "union" network: what requests call the kinds of images that it heeds."""


class ControlNets:
    """Of one model; the networks belong to it alone."""

    def __init__(
        self, networks: Mapping[str, ControlNet] | None = None, unsuitable: Sequence[str] = ()
    ) -> None:
        """`unsuitable` are the names of those that are for other models."""
        self._networks = dict(networks or {})
        self._fingerprints = {
            name: module_fingerprint(one.network) for name, one in self._networks.items()
        }
        self._unsuitable = frozenset(unsuitable)
        self._pipelines: dict[tuple[str, ...], Any] = {}

    @property
    def names(self) -> list[str]:
        """What requests may name."""
        return sorted(self._networks)

    @property
    def memory(self) -> int:
        """Bytes of the weights."""
        networks = [one.network for one in self._networks.values()]
        return sum(one.numel() * one.element_size() for net in networks for one in net.parameters())

    def fingerprint(self, control: ControlInput) -> str:
        """Of the weights that lead by it, and of what they take its image for."""
        return f"{self._fingerprints[control.name]}{self._mode(control)}"

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what is not there, is not for this model, or leads nothing."""
        for control in request.controls:
            self._check_name(control)
            self._check_mode(control)
        if request.controls:
            self._check_together([self._networks[one.name] for one in request.controls], request)

    def pipeline(self, main: Any, request: ImageRequest) -> Any:
        """A pipeline of the same parts that the request's ControlNets lead; raises as `check`."""
        self.check(request)
        used = [self._networks[control.name] for control in request.controls]
        kind = used[0].kind
        leading = kind.pipeline(image=request.image is not None, mask=request.mask is not None)
        if leading is None:  # as `check` has said
            raise InvalidRequest("Nothing leads it.", param="controls")
        names = tuple(control.name for control in request.controls)
        if kind.repeated or kind.listed:
            names = names[:1] if len(set(names)) == 1 else names
        several = len(names) > 1 or (kind.repeated and len(used) > 1)
        if (leading, str(several), *names) not in self._pipelines:
            networks = [self._networks[name].network for name in names]
            together = _several(kind, networks) if several else networks[0]
            try:
                made = sibling(leading, main, controlnet=together)
            except ValueError as error:  # by which they refuse networks that lack a part
                raise InvalidRequest(f"The model refuses it: {error}", param="controls") from error
            self._pipelines[leading, str(several), *names] = made
        return self._pipelines[leading, str(several), *names]

    def arguments(
        self, known: Mapping[str, object], controls: Sequence[ControlInput]
    ) -> dict[str, object]:
        """What a pipeline of `pipeline` is called with for them, of the arguments it knows."""
        if not controls:
            return {}
        one = len(controls) == 1 and not self._networks[controls[0].name].kind.listed

        def each(read: Callable[[ControlInput], object]) -> object:
            return read(controls[0]) if one else [read(control) for control in controls]

        given = {
            "control_image" if "control_image" in known else "image": each(lambda one: one.image),
            "controlnet_conditioning_scale": each(lambda one: float(one.scale)),
            "control_guidance_start": each(lambda one: one.start),
            "control_guidance_end": each(lambda one: one.end),
            "control_mode": each(self._mode),
        }
        return {name: value for name, value in given.items() if name in known}

    def _mode(self, control: ControlInput) -> int | None:
        modes = self._networks[control.name].modes
        return None if control.mode is None else modes[control.mode]

    def _check_name(self, control: ControlInput) -> None:
        if control.name in self._unsuitable:
            raise InvalidRequest(
                f"The ControlNet {control.name!r} is for another kind of model.", param="controls"
            )
        if control.name not in self._networks:
            raise UnknownInput.of("ControlNet", control.name, self.names, param="controls")

    def _check_mode(self, control: ControlInput) -> None:
        modes = self._networks[control.name].modes
        if control.mode is None and modes:
            raise InvalidRequest(
                f"The ControlNet {control.name!r} heeds images of several kinds: name one as its "
                f"mode, of {', '.join(map(repr, modes))}.",
                param="controls",
            )
        if control.mode is not None and not modes:
            raise InvalidRequest(
                f"The ControlNet {control.name!r} knows no modes.", param="controls"
            )
        if control.mode is not None and control.mode not in modes:
            what = f"mode of the ControlNet {control.name!r} called"
            raise UnknownInput.of(what, control.mode, [*modes], param="controls")

    def _check_together(self, used: Sequence[ControlNet], request: ImageRequest) -> None:
        kind, given = used[0].kind, "mask" if request.mask is not None else "image"
        image, mask = request.image is not None, request.mask is not None
        if any(_differ(used[0], other) for other in used[1:]):
            raise InvalidRequest(
                "These ControlNets are of different kinds, so they cannot lead together.",
                param="controls",
            )
        names = {control.name for control in request.controls}
        if (kind.several is None and len(used) > 1) or (kind.repeated and len(names) > 1):
            raise InvalidRequest(
                "Of this model's ControlNets one leads a request, and no others beside it.",
                param="controls",
            )
        if kind.pipeline(image=image, mask=mask) is None:
            raise InvalidRequest(
                f"This model's ControlNets do not lead what is made from a given {given}.",
                param="controls",
            )
        whole = all((control.start, control.end) == (0, 1) for control in request.controls)
        leading = getattr(library, kind.from_text).__call__
        if not whole and "control_guidance_end" not in inspect.signature(leading).parameters:
            raise InvalidRequest(
                "This model's ControlNets lead from the first step to the last: name no start and "
                "no end.",
                param="controls",
            )


def load_control_nets(
    pipeline: Any,
    folders: Mapping[str, Path],
    modes: Mapping[str, Mapping[str, int]] | None = None,
) -> ControlNets:
    """Those of the folders that suit the pipeline, on its device and in its precision.

    `modes` are what requests call the modes of unions, by the ControlNets' names; without, they
    are called by their numbers.

    Raises:
        ModelUnreadable: one of them cannot be read, or has no such mode.
    """
    networks, unsuitable = {}, []
    for name, folder in folders.items():
        config = _config(folder)
        kind = control_kind(pipeline, config)
        if kind is None:
            unsuitable.append(name)
            continue
        called = _modes(name, kind.number_of_modes(config), (modes or {}).get(name, {}))
        try:
            made = getattr(library, kind.network).from_pretrained(
                folder,
                torch_dtype=pipeline.dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
            network = whole_model(made, folder)
        except UNREADABLE as error:
            raise_if_of_the_device(error)
            raise _unreadable(folder, error) from error
        networks[name] = ControlNet(network.to(pipeline.device), kind, called)
    return ControlNets(networks, unsuitable)


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        config: Mapping[str, Any] = library.ControlNetModel.load_config(
            folder, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from error
    return config


def _modes(name: str, number: int, called: Mapping[str, int]) -> Mapping[str, int]:
    if not called:
        return {str(mode): mode for mode in range(number)}
    for mode, place in called.items():
        if not 0 <= place < number:
            has = f"{number} modes, from 0" if number else "no modes"
            raise ModelUnreadable(f"The ControlNet {name!r} has {has}, and no {mode}={place}.")
    return called


def _unreadable(folder: Path, error: Exception) -> ModelUnreadable:
    return ModelUnreadable(f"{folder} cannot be loaded as a ControlNet: {error}")


def _differ(one: ControlNet, other: ControlNet) -> bool:
    """Whether pipelines, which look at the first only, would take one for what it is not."""
    if one.kind != other.kind:
        return True
    return any(one.network.config[name] != other.network.config[name] for name in one.kind.alike)


def _several(kind: ControlKind, networks: Sequence[Any]) -> torch.nn.Module:
    made = getattr(import_module("diffusers.models.controlnets"), str(kind.several))
    module: torch.nn.Module = made(list(networks))
    return module
