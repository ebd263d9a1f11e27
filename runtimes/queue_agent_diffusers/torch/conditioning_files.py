"""The files of ControlNets and IP-Adapters: on this machine, or of the Hugging Face hub."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from huggingface_hub import snapshot_download

from queue_agent_diffusers.errors import ModelNotFound

_HUB_ID: Final = re.compile(
    r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w./-]+))?(?::([\w./ -]+\.safetensors))?"
)
_NETWORK: Final = (
    "config.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model-*.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
)
_ENCODER: Final = ("config.json", "model.safetensors")
_BESIDE: Final = "image_encoder"


@dataclass(frozen=True)
class AdapterFiles:
    """What an IP-Adapter consists of."""

    weights: Path
    encoder: Path
    """Folder of the network that looks at the images."""


def control_net_folder(source: str) -> Path:
    """The folder of a ControlNet as diffusers keeps it: a path, or ``ORG/NAME[@REVISION]``.

    Raises:
        ModelNotFound: there is none.
    """
    path = Path(source).expanduser()
    return path if path.is_dir() else _fetch(source, _NETWORK)


def adapter_files(source: str) -> AdapterFiles:
    """The files of ``WEIGHTS[,ENCODER]``.

    The weights are a ``.safetensors`` file, by its path or as ``ORG/NAME[@REVISION]:PATH``; the
    encoder is a folder or hub id, or else lies in ``image_encoder`` beside the weights.

    Raises:
        ModelNotFound: there is no such file or folder.
    """
    named, _, encoder = source.partition(",")
    weights = Path(named).expanduser()
    if not weights.is_file():
        weights = _fetched_weights(named, with_encoder=not encoder)
    folder = Path(encoder).expanduser() if encoder else weights.parent / _BESIDE
    if not folder.is_dir():
        if not encoder:
            raise ModelNotFound(
                f"Beside {weights} is no folder {_BESIDE}: name the adapter's image encoder after "
                "a comma."
            )
        folder = _fetch(encoder, _ENCODER)
    return AdapterFiles(weights, folder)


def _fetched_weights(source: str, *, with_encoder: bool) -> Path:
    match = _HUB_ID.fullmatch(source)
    if match is None or match[3] is None:
        raise ModelNotFound(
            f"There is no file {source!r}, and it names none of the hub (ORG/NAME:PATH)."
        )
    beside = Path(match[3]).parent / _BESIDE
    encoder = [(beside / name).as_posix() for name in _ENCODER]
    return _fetch(source, [match[3], *(encoder if with_encoder else [])]) / match[3]


def _fetch(source: str, files: Sequence[str]) -> Path:
    match = _HUB_ID.fullmatch(source)
    if match is None:
        raise ModelNotFound(f"There is no folder {source!r}, and it is no hub id.")
    try:
        return Path(snapshot_download(match[1], revision=match[2], allow_patterns=[*files]))
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"{source!r} cannot be had from the hub: {error}") from error
