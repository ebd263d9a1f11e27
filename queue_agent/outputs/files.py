"""Artifacts in files with names, for processes that read and write such."""

import os
import stat
from pathlib import Path

from queue_agent.media.asset import IN_MEMORY, Asset


def write(asset: Asset, target: Path) -> None:
    """Copy an asset to a file."""
    with asset.open() as source, target.open("wb") as copy:
        while piece := source.read(IN_MEMORY):
            copy.write(piece)


def read(path: Path, media_type: str) -> Asset:
    """What a file holds, which may then be removed.

    Raises:
        OSError: it is none, but a link that whoever wrote it has left there, say.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    found = os.fstat(file.fileno())
    if found.st_size > IN_MEMORY and stat.S_ISREG(found.st_mode):
        return Asset(file, media_type)  # there is as long as it is open
    with file:
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path.name} is no file")
        return Asset(file.read(), media_type)
