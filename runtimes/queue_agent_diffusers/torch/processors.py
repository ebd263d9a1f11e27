"""Processors of prompts with images, read without their part for videos.

transformers makes that part of torchvision, which the runtime does without, and then makes no such
processor at all. Pipelines give them no videos.
"""

import functools
import json
from pathlib import Path
from typing import Any, Final

import transformers

from queue_agent_diffusers.torch.weight_files import INDEX

library: Any = transformers

_VIDEOS: Final = "video_processor"


def read_processors(path: Path) -> dict[str, Any]:
    """Those of a folder in the diffusers layout that have such a part, by their names in the index.

    Raises:
        OSError, ValueError: one of them cannot be read.
    """
    index: dict[str, object] = json.loads((path / INDEX).read_text())
    found = {}
    for name, value in index.items():
        match value:
            case ["transformers", str(kind)] if (path / name).is_dir() and _takes_videos(kind):
                found[name] = without_videos(kind).from_pretrained(
                    path / name, local_files_only=True
                )
    return found


@functools.cache
def without_videos(kind: str) -> Any:
    """The class of processors of that name, for texts and images."""
    original: Any = getattr(library, kind)

    def attributes(_own: type) -> list[str]:
        return [name for name in original.get_attributes() if name != _VIDEOS]

    # By name and module it is saved and found in a pipeline.
    changed = {"get_attributes": classmethod(attributes), "__module__": original.__module__}
    return type(kind, (original,), changed)


def _takes_videos(kind: str) -> bool:
    known: Any = getattr(library, kind, None)
    of_that_kind = isinstance(known, type) and issubclass(known, library.ProcessorMixin)
    return of_that_kind and _VIDEOS in known.get_attributes()
