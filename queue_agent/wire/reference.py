"""Inputs that a job names by URL."""

from dataclasses import dataclass
from typing import Literal

MediaKind = Literal["image", "video", "audio"]


@dataclass(frozen=True)
class Reference:
    """An input named by URL in the content."""

    url: str
    path: tuple[str | int, ...]
    """Where in the content it stands, e.g. ``("init_images", 0)``; for messages to people."""
    kind: MediaKind = "image"


def is_url(value: object) -> bool:
    """Whether a field's value names a place (has a scheme) rather than carrying the data.

    ``data:`` URLs carry their data, and base64 text has no ``://``.
    """
    return isinstance(value, str) and "://" in value[:64]
