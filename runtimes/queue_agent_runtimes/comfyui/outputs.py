"""The files that a prompt's history names, fetched as artifacts."""

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import Artifact, Asset, Spool
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.media_types import UNKNOWN, extension_of, media_type_by_name
from queue_agent_runtimes.comfyui.api import ComfyUIApi

Json = dict[str, JsonValue]

MISSING: Final = "output_missing"
MOST_BYTES: Final = 2**30
"""Of all outputs of a prompt; with more, no other is taken."""
_ARCHIVES: Final = frozenset({("application/zip", "model/vnd.usdz+zip")})
"""Formats whose bytes only tell in what they are packed."""


@dataclass(frozen=True)
class FileRecord:
    """A file as `/view` wants it named."""

    filename: str
    subfolder: str
    type: str


@dataclass(frozen=True)
class Found:
    """What an output node reported: a file or a text; or an image that it sent."""

    node_id: str
    value: FileRecord | str | Asset


def find_outputs(entry: Mapping[str, JsonValue]) -> list[Found]:
    """Files and texts of all output nodes, each file once, in the order of the history.

    Keys are not looked at: custom nodes invent their own (``gifs``, ``3d``, …). Files of the
    input folder are no products, numbers and flags are no artifacts.
    """
    found: dict[Found | FileRecord, Found] = {}
    for node_id, value in _values(entry.get("outputs")):
        if isinstance(value, str) and value.strip():
            text = Found(node_id, value)
            found.setdefault(text, text)
        elif isinstance(value, dict) and isinstance(value.get("filename"), str):
            record = FileRecord(
                str(value["filename"]),
                str(value.get("subfolder") or ""),
                str(value.get("type") or "output"),
            )
            if record.type != "input":
                found.setdefault(record, Found(node_id, record))
    return list(found.values())


async def fetch_artifact(api: ComfyUIApi, found: Found, seed: int | None, spool: Spool) -> Artifact:
    """The artifact behind a file record or text, or that an image is.

    Raises:
        Unavailable: the server has no such file (type `MISSING`), or answers with something else.
    """
    if isinstance(found.value, str):
        return Artifact(found.value.encode(), "text/plain", seed=seed)
    if isinstance(found.value, Asset):
        return Artifact(found.value.content, found.value.media_type, seed=seed)
    record = found.value
    _raise_if_outside(record)
    asked = {"filename": record.filename, "subfolder": record.subfolder, "type": record.type}
    try:
        asset = await api.view(asked, spool)
    except Rejected as error:
        raise Unavailable(
            f"ComfyUI does not hand out its output {record.filename!r}: {error.message}",
            type=MISSING,
            details=error.details,
        ) from error
    return Artifact(
        asset.content,
        _media_type(record, asset),
        seed=seed,
        extension=extension_of(record.filename),
    )


def _values(outputs: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    for node_id, kinds in outputs.items() if isinstance(outputs, dict) else ():
        for values in kinds.values() if isinstance(kinds, dict) else ():
            for value in values if isinstance(values, list) else [values]:
                yield node_id, value


def _raise_if_outside(record: FileRecord) -> None:
    """Backslashes are a Windows server's own slashes, and on others a part of the name."""
    steps = posixpath.join(record.subfolder, record.filename).replace("\\", "/").split("/")
    absolute = record.subfolder.startswith("/") or record.filename.startswith("/")
    if absolute or ".." in steps or ".." in record.filename:
        raise Unavailable(
            f"ComfyUI names an output outside its folder: {record.filename!r} "
            f"in {record.subfolder!r}.",
            type="invalid_answer",
        )


def _media_type(record: FileRecord, asset: Asset) -> str:
    with asset.open() as file:
        head = file.read(64)
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise Unavailable(
            f"/view answered with an HTML page instead of {record.filename!r}; "
            "is there a proxy in between?",
            type="invalid_answer",
        )
    if not head:
        raise Unavailable(f"The output {record.filename!r} is empty.", type="invalid_answer")
    promised = media_type_by_name(record.filename)
    if asset.media_type == UNKNOWN or (asset.media_type, promised) in _ARCHIVES:
        return promised
    return asset.media_type
