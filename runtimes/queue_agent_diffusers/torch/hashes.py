"""Whether files are what their source says: SHA-256, as `sha256sum` and the hub write it."""

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from queue_agent_diffusers.errors import ModelUnreadable

MANIFEST: Final = "SHA256SUMS"
"""The file of a folder that has its files' hashes, a line for each, as `sha256sum` writes them."""

_LINE: Final = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?(.+)")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_SIMULTANEOUS: Final = 4


def read_manifest(text: str) -> dict[str, str]:
    """Hashes by path; lines of another form are passed over."""
    matches = map(_LINE.fullmatch, text.splitlines())
    return {match[2]: match[1] for match in matches if match}


def check_blobs(blobs: Iterable[Path]) -> None:
    """Compare files that are called by their hash, as the hub's cache calls those of weights.

    Raises:
        ModelUnreadable: one is another; it is deleted, so that it will be fetched anew.
    """
    named = [blob for blob in blobs if _HASH.fullmatch(blob.name)]
    with ThreadPoolExecutor(_SIMULTANEOUS) as threads:
        found = list(threads.map(_hash_of, named))
    wrong = [blob for blob, digest in zip(named, found, strict=True) if digest != blob.name]
    for blob in wrong:
        blob.unlink(missing_ok=True)
    if wrong:
        raise ModelUnreadable(f"{wrong[0]} was fetched with other content than the hub names.")


def _hash_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
