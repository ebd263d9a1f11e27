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

_LINE: Final = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](?:\./)?(.+)")
_TAGGED: Final = re.compile(r"(\\?)SHA256 \((?:\./)?(.+)\) = ([0-9a-fA-F]{64})")
_ESCAPED: Final = {r"\\": "\\", r"\n": "\n", r"\r": "\r"}
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_SIMULTANEOUS: Final = 4


def read_manifest(text: str) -> dict[str, str]:
    """Hashes by path, of lines as `sha256sum` writes them, with and without ``--tag``.

    Its own line is left out: whoever made it by ``sha256sum * > SHA256SUMS`` hashed it empty.

    Raises:
        ModelUnreadable: a line is none of these, or two say different things of one file. What
            cannot be read is no permission.
    """
    hashes: dict[str, str] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        path, digest = _read_line(line.removesuffix("\r"), number)
        if hashes.setdefault(path, digest) != digest:
            raise ModelUnreadable(f"{MANIFEST} names {path} with two hashes.")
    hashes.pop(MANIFEST, None)
    return hashes


def _read_line(line: str, number: int) -> tuple[str, str]:
    if match := _LINE.fullmatch(line):
        escaped, digest, path = match.groups()
    elif match := _TAGGED.fullmatch(line):
        escaped, path, digest = match.groups()
    else:
        raise ModelUnreadable(f"Line {number} of {MANIFEST} is none that sha256sum writes.")
    if escaped:
        path = re.sub(r"\\[\\nr]", lambda found: _ESCAPED[found[0]], path)
    return path, digest.lower()


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
