"""Inputs that a job names by URL."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

MediaKind = Literal["image", "video", "audio", "file"]
"""What is asked for; a `file` may be anything."""
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


def strings_of(value: JsonValue) -> Iterator[tuple[Path, str]]:
    """Every text in it and where it stands, in order, however deep and however many."""
    above: list[tuple[Path, Iterator[tuple[str | int, JsonValue]]]] = [((), iter([("", value)]))]
    while above:
        path, items = above[-1]
        for step, found in items:
            place = (*path, step) if len(above) > 1 else ()
            if isinstance(found, str):
                yield place, found
            elif isinstance(found, dict):
                above.append((place, iter(found.items())))
                break
            elif isinstance(found, list):
                above.append((place, iter(enumerate(found))))
                break
        else:
            above.pop()
