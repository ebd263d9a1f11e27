"""The fake's input, output and temp folders: in memory, so that a restart empties them, or real."""

import errno
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from fakes.comfyui.model_lists import LISTED, MODELS
from fakes.comfyui.values import NodeFailure

_LONGEST_NAME = 255
"""Bytes, on the usual file systems."""
FOLDERS = ("input", "output", "temp")


@dataclass(frozen=True)
class FileRecord:
    """A file as uploads, history and `/view` name it."""

    filename: str
    subfolder: str
    type: str

    def as_json(self) -> dict[str, str]:
        return {"filename": self.filename, "subfolder": self.subfolder, "type": self.type}


@dataclass
class Files:
    folder: Path | None = None
    """Where the three folders are, if they are real ones; others may then remove files."""
    models: Path | None = None
    """A real folder of models, beside those that there always are."""
    _contents: dict[FileRecord, bytes] = field(default_factory=dict)

    def read(self, record: FileRecord) -> bytes | None:
        if self.folder is None:
            return self._contents.get(record)
        path = self._path(record)
        return path.read_bytes() if path is not None and path.is_file() else None

    def clear(self) -> None:
        self._contents.clear()

    def __iter__(self) -> Iterator[FileRecord]:
        return iter(self._contents)

    def _path(self, record: FileRecord) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / record.type / record.subfolder / record.filename

    def _keep(self, record: FileRecord, data: bytes) -> None:
        self._contents[record] = data
        if path := self._path(record):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def models_of(self, folder: str) -> list[JsonValue]:
        """The files of one kind of model, read anew each time."""
        found: list[JsonValue] = [*MODELS.get(folder, ())]
        base = self.models / folder if self.models else None
        files = sorted(base.rglob("*")) if base else []
        return found + [
            str(file.relative_to(base)) for file in files if base and file.suffix in LISTED
        ]

    def upload(self, record: FileRecord, data: bytes, *, overwrite: bool) -> FileRecord:
        """Store an upload; a taken name with other content gets a number, as in the real one."""
        stem, extension = posixpath.splitext(record.filename)
        number = 1
        while not overwrite and self._contents.get(record, data) != data:
            name = f"{stem} ({number}){extension}"
            record = FileRecord(name, record.subfolder, record.type)
            number += 1
        self._keep(record, data)
        return record

    def save(self, prefix: str, folder: str, extension: str, data: bytes) -> FileRecord:
        """Store an output under the next number of its prefix.

        Raises:
            NodeFailure: the prefix leads outside the folder.
        """
        if prefix.startswith("/") or posixpath.normpath(prefix).startswith(".."):
            words = "**** ERROR: Saving image outside the output folder is not allowed."
            raise NodeFailure("Exception", f"{words}\n full_output_folder: /srv")
        subfolder, stem = posixpath.split(posixpath.normpath(prefix))
        taken = sum(
            1
            for record in self._contents
            if record.type == folder
            and record.subfolder == subfolder
            and record.filename.startswith(f"{stem}_")
        )
        record = FileRecord(f"{stem}_{taken + 1:05}_.{extension}", subfolder, folder)
        if len(record.filename.encode()) > _LONGEST_NAME:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), record.filename)
        self._keep(record, data)
        return record


def input_record(name: str) -> FileRecord:
    """The uploaded file that a loading node's input names, with or without its folder."""
    path, _, annotation = name.partition(" [")
    subfolder, _, filename = path.rpartition("/")
    return FileRecord(filename, subfolder, annotation.rstrip("]") or "input")
