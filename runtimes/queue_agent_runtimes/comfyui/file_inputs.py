"""By which inputs nodes take files, and from which of the server's folders. Pure functions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import MediaKind

MEDIA_INPUTS: Final[Mapping[str, MediaKind]] = {
    "image": "image",
    "mask": "image",
    "video": "video",
    "audio": "audio",
    "file": "video",
}
"""Inputs by which loading nodes name a file; `file` is the core LoadVideo's."""


@dataclass(frozen=True)
class FileInput:
    """An input that names a file."""

    kind: MediaKind
    folder: str = "input"
    """Which of the server's folders it is looked for in."""
    within: str = ""
    """The folder in that one where it has to lie."""

    @property
    def place(self) -> str:
        return "/".join(filter(None, (self.folder, self.within)))


_CORE: Final[Mapping[tuple[str, str], FileInput]] = {
    ("Load3D", "model_file"): FileInput("file", within="3d"),
    ("Load3DAdvanced", "model_file"): FileInput("file", within="3d"),
    ("Load3DAnimation", "model_file"): FileInput("file", within="3d"),
    ("LoadImageOutput", "image"): FileInput("image", "output"),
    ("LoadLatent", "latent"): FileInput("file"),
    ("Painter", "mask"): FileInput("image"),
}
"""ComfyUI's own that their names or their classes' descriptions do not tell all of."""

_UPLOADS: Final[Mapping[str, MediaKind]] = {
    "image_upload": "image",
    "animated_image_upload": "image",
    "video_upload": "video",
    "audio_upload": "audio",
}
"""Options of inputs by which a class says that the editor uploads a file for it."""


@dataclass(frozen=True)
class FileInputs:
    """What a server's classes say of themselves, in `/object_info`."""

    uploads: Mapping[tuple[str, str], FileInput] = field(default_factory=dict)
    """By class and input."""
    texts: frozenset[tuple[str, str]] = frozenset()
    """Inputs with the names of `MEDIA_INPUTS` that take any text, base64 for example."""
    outputs: frozenset[str] = frozenset()
    """Classes of output nodes."""

    @classmethod
    def of(cls, object_info: Mapping[str, JsonValue]) -> "FileInputs":
        """What the answer of `/object_info` says; what is odd in it is passed over."""
        uploads: dict[tuple[str, str], FileInput] = {}
        texts = set()
        for class_type, name, kind, options in _inputs(object_info):
            asked = [word for word in options if word.endswith("_upload") and options[word] is True]
            if asked:
                folder = options.get("image_folder")
                media: MediaKind = next(
                    (_UPLOADS[word] for word in asked if word in _UPLOADS), "file"
                )
                uploads[class_type, name] = FileInput(
                    media, str(folder) if folder in ("output", "temp") else "input"
                )
            elif kind == "STRING" and name in MEDIA_INPUTS:
                texts.add((class_type, name))
        outputs = (
            class_type
            for class_type, info in object_info.items()
            if isinstance(info, dict) and info.get("output_node") is True
        )
        return cls(uploads, frozenset(texts), frozenset(outputs))

    def find(self, class_type: str, name: str) -> FileInput | None:
        """How a class takes a file by an input; None where it takes none by it."""
        found = _CORE.get((class_type, name)) or self.uploads.get((class_type, name))
        if found is None and name in MEDIA_INPUTS:
            return FileInput(MEDIA_INPUTS[name])
        return found

    def of_class(self, class_type: str) -> list[FileInput]:
        """How a class takes files, by inputs that it tells of itself or that are ComfyUI's own."""
        known = {**self.uploads, **_CORE}
        return [known[found] for found in known if found[0] == class_type]

    def is_text(self, class_type: str, name: str) -> bool:
        """Whether an input of a file's usual name takes the data itself."""
        return (class_type, name) in self.texts


def _inputs(
    object_info: Mapping[str, JsonValue],
) -> Iterator[tuple[str, str, JsonValue, dict[str, JsonValue]]]:
    for class_type, info in object_info.items():
        groups = info.get("input") if isinstance(info, dict) else None
        for group in groups.values() if isinstance(groups, dict) else ():
            for name, spec in group.items() if isinstance(group, dict) else ():
                if isinstance(spec, list) and spec:
                    options = spec[1] if len(spec) > 1 else None
                    yield class_type, name, spec[0], options if isinstance(options, dict) else {}
