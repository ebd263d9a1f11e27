"""Artifacts in files with names, for processes that read and write such."""

from pathlib import Path

from queue_agent.media.asset import IN_MEMORY, Asset


def write(asset: Asset, target: Path) -> None:
    """Copy an asset to a file."""
    with asset.open() as source, target.open("wb") as copy:
        while piece := source.read(IN_MEMORY):
            copy.write(piece)


def read(path: Path, media_type: str) -> Asset:
    """What a file holds, which may then be removed."""
    if path.stat().st_size <= IN_MEMORY:
        return Asset(path.read_bytes(), media_type)
    return Asset(path.open("rb"), media_type)  # there is as long as it is open
