"""What a real ComfyUI answered; see tests/recordings."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

_FOLDER: Final = Path(__file__).parent / "recordings" / "comfyui-0.33.0"
Exchange = dict[str, Any]


def topics() -> list[str]:
    return sorted(path.name.removesuffix(".json.gz") for path in _FOLDER.glob("*.json.gz"))


@cache
def recorded(topic: str) -> list[Exchange]:
    """The exchanges of one file, in their order; not to be changed."""
    recording = json.loads(gzip.decompress((_FOLDER / f"{topic}.json.gz").read_bytes()))
    found: list[Exchange] = recording["exchanges"]
    return found


@cache
def recorded_object_info() -> dict[str, JsonValue]:
    """The answer to `/object_info`; not to be changed."""
    (exchange,) = recorded("object_info")
    found: dict[str, JsonValue] = exchange["response"]["json"]
    return found
