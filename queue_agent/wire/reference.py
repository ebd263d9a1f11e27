"""Inputs that a job names by URL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MediaKind = Literal["image", "video", "audio"]
Path = tuple[str | int, ...]
"""Where in the content something stands, e.g. ``("init_images", 0)``."""


@dataclass(frozen=True)
class Reference:
    """An input named by URL in the content."""

    url: str
    path: Path
    """Where it stands; of all places, this field's alone is left to be fetched."""
    kind: MediaKind = "image"


def is_url(value: object) -> bool:
    """Whether a field's value names a place (has a scheme) rather than carrying the data.

    ``data:`` URLs carry their data, and base64 text has no ``://``.
    """
    return isinstance(value, str) and "://" in value[:64]


def spelled(path: Sequence[str | int]) -> str:
    """A field's place as people write it: ``init_images[0]``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step[:100]}" for step in path)
    return "".join(steps).removeprefix(".") or "content"
