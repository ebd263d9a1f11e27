"""What a real ComfyUI answered; see tests/recordings."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import JsonValue

_FOLDER: Final = Path(__file__).parent / "recordings" / "comfyui-0.33.0"


@cache
def recorded_object_info() -> dict[str, JsonValue]:
    """The answer to `/object_info`; not to be changed."""
    recording = json.loads(gzip.decompress((_FOLDER / "object_info.json.gz").read_bytes()))
    (exchange,) = recording["exchanges"]
    found: dict[str, JsonValue] = exchange["response"]["json"]
    return found
