"""What a real Web UI answered; see tests/recordings."""

import json
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import JsonValue

_FOLDER: Final = Path(__file__).parent / "recordings" / "webui-1.10.1"


@cache
def recorded(topic: str) -> dict[str, JsonValue]:
    """The last answer to each GET route under `/sdapi/v1/` of one recording; not to be changed."""
    recording = json.loads((_FOLDER / f"{topic}.json").read_text())
    return {
        exchange["request"]["path"].removeprefix("/sdapi/v1/"): exchange["response"]["json"]
        for exchange in recording["exchanges"]
        if exchange["request"]["method"] == "GET"
    }
