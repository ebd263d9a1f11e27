"""Models of the Hugging Face hub, at a revision or at what is newest."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import diffusers
from httpx import TransportError
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.errors import ModelNotFound
from queue_agent_diffusers.torch.hashes import check_blobs
from queue_agent_diffusers.torch.weight_files import INDEX, variant_for, weight_bytes

library: Any = diffusers
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
    match = _HUB_ID.fullmatch(model)
    if match is None:
        raise ModelNotFound(f"There is no file or folder {model!r}, and it is no hub id.")
    name, revision = match.groups()
    try:
        files, components = _files(name, revision)
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


def _files(name: str, revision: str | None) -> tuple[dict[str, int], Collection[str]]:
    """The bytes of each file by its path, and the names in the index that it opens.

    Where the hub cannot be reached, those files that are at hand.
    """
    index = Path(hf_hub_download(name, INDEX, revision=revision))
    try:
        told = HfApi().model_info(name, revision=revision, files_metadata=True)
        files = {sibling.rfilename: sibling.size or 0 for sibling in told.siblings or []}
    except (HfHubHTTPError, OfflineModeIsEnabled, TransportError, ConnectionError):
        here = (file for file in index.parent.rglob("*") if file.is_file())
        files = {str(file.relative_to(index.parent)): file.stat().st_size for file in here}
    return files, json.loads(index.read_text())
