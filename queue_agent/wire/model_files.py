"""Models that a job needs, by their files: how jobs, workflows and the operator name them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Final

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from queue_agent.wire.errors import Rejected

__all__ = ["MODEL_FORBIDDEN", "ModelFile", "is_model_name", "plain_model_name", "read_model_files"]

MODEL_FORBIDDEN: Final = "model_forbidden"
_EXTENSIONS: Final = frozenset(
    {".bin", ".ckpt", ".gguf", ".onnx", ".pkl", ".pt", ".pt2", ".pth", ".safetensors", ".sft"}
)
_HASH: Final = re.compile(r"\s*\[[^]]+]\s*$")
_MOST: Final = 100
"""Models that a job may bring."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelFile:
    """A file that holds a model, or a part of one."""

    name: str
    """Its name in `folder`, perhaps with folders in that, by slashes."""
    folder: str = ""
    """The kind of model, as the runtime's folder for it is called; empty: not known."""
    url: str = field(default="", repr=False)
    """Where it comes from; empty: that is not told."""
    sha256: str = ""
    """In lower case; empty: not told."""
    size: int | None = None
    """In bytes."""
    by_operator: bool = False
    """Whether the operator says all this."""

    @property
    def key(self) -> str:
        """Where it lies among all models."""
        return f"{self.folder}/{self.name}"


class _Named(BaseModel):
    """An entry as ComfyUI's templates have it, `sha256` and `size` beside."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(min_length=1, max_length=512)
    url: str = Field(default="", max_length=16_384)
    directory: str = Field(
        min_length=1, max_length=512, validation_alias=AliasChoices("directory", "folder")
    )
    sha256: str | None = None
    hash: str | None = None
    hash_type: str | None = None
    size: Annotated[int, Field(ge=0)] | None = None

    def digest(self) -> str:
        told = self.sha256
        kind = (self.hash_type or "").replace("-", "").casefold()
        if told is None and kind in {"", "sha256"}:
            told = self.hash
        if told is None:
            return ""
        digest = told.casefold()
        if not _DIGEST.fullmatch(digest):
            raise ValueError("the SHA-256 must be 64 hexadecimal digits")
        return digest


def is_model_name(text: str) -> bool:
    """Whether a text looks like the name of a model's file."""
    return len(text) <= 512 and PurePosixPath(text).suffix.casefold() in _EXTENSIONS


def plain_model_name(text: str) -> str:
    """A model's name without folders, extension and the short hash that the Web UI's titles end in.

    However jobs and servers call it, it is the same.
    """
    path = PurePosixPath(_HASH.sub("", text).replace("\\", "/"))
    return path.stem if path.suffix.casefold() in _EXTENSIONS else path.name


def read_model_files(value: JsonValue, place: str, *, most: int = _MOST) -> list[ModelFile]:
    """The models of a list ``[{"name", "url", "directory", "sha256", "size"}]``; none of null.

    ``hash`` with a ``hash_type`` of SHA256, as templates have it, is as `sha256`; other hashes
    are passed over.

    Raises:
        Rejected: it is no such list (type ``invalid_content``); the message begins with `place`.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise _invalid(f"{place}: must be a list of models")
    if len(value) > most:
        raise _invalid(f"{place}: names over {most} models")
    return [_model_file(entry, f"{place}[{number}]") for number, entry in enumerate(value)]


def _model_file(entry: JsonValue, place: str) -> ModelFile:
    if not isinstance(entry, Mapping):
        raise _invalid(f'{place}: must be an object such as {{"name", "url", "directory"}}')
    try:
        named = _Named.model_validate(entry)
        digest = named.digest()
    except ValidationError as error:
        faults = (f"{_where(fault['loc'])}{fault['msg']}" for fault in error.errors()[:3])
        raise _invalid(f"{place}: {'; '.join(faults)}") from error
    except ValueError as error:
        raise _invalid(f"{place}: {error}") from error
    name = named.name.replace("\\", "/")
    return ModelFile(name, named.directory, named.url, digest, named.size)


def _where(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""


def _invalid(message: str) -> Rejected:
    return Rejected(f"{message}.", type="invalid_content")
