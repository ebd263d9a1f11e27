"""Models of the Hugging Face hub, at a revision or at what is newest."""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import diffusers
from httpx import TransportError
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    OfflineModeIsEnabled,
    SafetensorsParsingError,
)

from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.errors import ModelNotFound
from queue_agent_diffusers.torch.hashes import check_blobs
from queue_agent_diffusers.torch.weight_files import (
    INDEX,
    index_components,
    read_files,
    variant_for,
    weight_bytes,
)

library: Any = diffusers
UNREACHABLE: Final = (HfHubHTTPError, OfflineModeIsEnabled, TransportError, ConnectionError)
"""What is raised where the hub does not answer, or not with what was asked for."""
_HUB_ID: Final = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def fetch_from_hub(model: str, dtype: str, progress: LoadProgress) -> tuple[Path, str | None]:
    """The folder with the model's files, fetched if need be, and the variant that it has.

    `model` is ``ORG/NAME`` or ``ORG/NAME@REVISION``: a commit, a tag or a branch. Of weights that
    are there in full and in half precision, those are fetched that suit the dtype. Where the hub
    cannot be reached, what was fetched before is used.

    Raises:
        ModelNotFound: there is no such model, or it cannot be fetched.
        ModelUnreadable: a file came with other content than the hub names.
    """
    name, revision = _named(model)
    try:
        index = Path(hf_hub_download(name, INDEX, revision=revision))
        files, components = _files(index, name, revision)
        variant = variant_for(dtype, files, components)
        total = weight_bytes(files, variant, components)
        blobs = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "blobs"
        before = set(blobs.glob("*"))
        with progress.fetching(total or None, blobs):
            folder = Path(
                library.DiffusionPipeline.download(
                    name, revision=revision, variant=variant, use_safetensors=True
                )
            )
    except (OSError, ValueError) as error:
        raise ModelNotFound(
            f"There is no file or folder {model!r}, and it cannot be had from the hub: {error}"
        ) from error
    check_blobs(set(blobs.glob("*")) - before)
    progress.revision = folder.name
    return folder, variant


def count_weights(model: str, dtype: str, count: Callable[[Path], int]) -> int:
    """How many weights a load would read, by the headers of the files, here or on the hub.

    `count` says it of a file on this machine.

    Raises:
        ModelNotFound: there is no such model, or the hub does not tell.
    """
    name, revision = _named(model)
    try:
        index = Path(hf_hub_download(name, INDEX, revision=revision))
        files, components = _files(index, name, revision)
        needed = read_files(files, variant_for(dtype, files, components), components)
        if all((index.parent / file).exists() for file in needed):
            return sum(count(index.parent / file) for file in needed)
        told = [
            HfApi().parse_safetensors_file_metadata(name, file, revision=revision)
            for file in needed
        ]
    except (*UNREACHABLE, OSError, ValueError, SafetensorsParsingError) as error:
        raise ModelNotFound(f"The hub does not tell of {model!r}: {error}") from error
    return sum(sum(one.parameter_count.values()) for one in told)


def _named(model: str) -> tuple[str, str | None]:
    match = _HUB_ID.fullmatch(model)
    if match is None:
        raise ModelNotFound(f"There is no file or folder {model!r}, and it is no hub id.")
    return match[1], match[2]


def _files(index: Path, name: str, revision: str | None) -> tuple[dict[str, int], Collection[str]]:
    """The bytes of each file by its path, and the components that the index names.

    Where the hub cannot be reached, those files that are at hand.
    """
    try:
        told = HfApi().model_info(name, revision=revision, files_metadata=True)
        files = {sibling.rfilename: sibling.size or 0 for sibling in told.siblings or []}
    except UNREACHABLE:
        here = (file for file in index.parent.rglob("*") if file.is_file())
        files = {str(file.relative_to(index.parent)): file.stat().st_size for file in here}
    return files, index_components(index.read_bytes())
