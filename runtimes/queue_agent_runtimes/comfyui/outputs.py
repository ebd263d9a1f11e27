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


_MODELS: Final = frozenset(
    {"fbx", "glb", "gltf", "ksplat", "obj", "ply", "splat", "spz", "stl", "usdz"}
)
"""Extensions of what the core's 3D nodes show, some of which also save it."""
_KEPT_PREVIEW: Final = "preview3d_"
"""What the names of Preview3D's files begin with, which lie among the outputs."""
_TEMPORARY: Final = ("preview3d_advanced_", "preview_splat_", "preview_pointcloud_")
"""What those of the other previewing nodes begin with."""


@dataclass(frozen=True)
class FileRecord:
    """A file as `/view` wants it named."""

    filename: str
    subfolder: str
    type: str
    only_named: bool = False
    """Whether the node reported no more than a name, which may be that of no output at all."""

    @property
    def is_preview(self) -> bool:
        """Whether it is shown, but not saved."""
        return self.type == "temp" or (self.only_named and self.filename.startswith(_KEPT_PREVIEW))


@dataclass(frozen=True)
class Found:
    """What an output node reported: a file or a text; or an image that it sent."""

    node_id: str
    value: FileRecord | str | Asset


def find_outputs(entry: Mapping[str, JsonValue]) -> list[Found]:
    """Files and texts of all output nodes, each file once, in the order of the history.

    Keys are not looked at: custom nodes invent their own (``gifs``, ``3d``, …); save for
    ``result``, under which the core's 3D nodes name the file that they saved or show. Files of
    the input folder are no products, numbers and flags are no artifacts.
    """
    found: dict[Found | FileRecord, Found] = {}
    for node_id, key, value in _values(entry.get("outputs")):
        record = _named_model(value) if key == "result" else _record(value)
        if record is not None:
            if record.type != "input":
                found.setdefault(record, Found(node_id, record))
        elif isinstance(value, str) and value.strip():
            text = Found(node_id, value)
            found.setdefault(text, text)
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


def _values(outputs: JsonValue) -> Iterator[tuple[str, str, JsonValue]]:
    for node_id, kinds in outputs.items() if isinstance(outputs, dict) else ():
        for key, values in kinds.items() if isinstance(kinds, dict) else ():
            for value in values if isinstance(values, list) else [values]:
                yield node_id, key, value


def _record(value: JsonValue) -> FileRecord | None:
    if not isinstance(value, dict) or not isinstance(value.get("filename"), str):
        return None
    return FileRecord(
        str(value["filename"]),
        str(value.get("subfolder") or ""),
        str(value.get("type") or "output"),
    )


def _named_model(value: JsonValue) -> FileRecord | None:
    """A name such as ``3d/ComfyUI_00001_.glb``, in the slashes of the server's system."""
    if not isinstance(value, str) or extension_of(value) not in _MODELS:
        return _record(value)
    if value.startswith("/") or ".." in value:
        return None
    subfolder, _, filename = value.replace("\\", "/").rpartition("/")
    folder = "temp" if filename.startswith(_TEMPORARY) else "output"
    return FileRecord(filename, subfolder, folder, only_named=True)


def _raise_if_outside(record: FileRecord) -> None:
    """Backslashes are a Windows server's own slashes, and on others a part of the name."""
    steps = posixpath.join(record.subfolder, record.filename).replace("\\", "/").split("/")
    absolute = record.subfolder.startswith("/") or record.filename.startswith("/")
    if absolute or ".." in steps or ".." in record.filename:
        raise Unavailable(
            f"ComfyUI names an output outside its folder: {record.filename!r} "
            f"in {record.subfolder!r}.",
            type=MISSING,
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
