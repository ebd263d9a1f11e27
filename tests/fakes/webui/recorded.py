"""What a real 1.10.1 answers, whatever it is asked: taken from its recordings."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

_FOLDER: Final = Path(__file__).parents[2] / "recordings" / "webui-1.10.1"


@cache
def answer_to(file: str, what: str) -> Any:
    """The JSON of one recorded exchange; not to be changed."""
    recording = json.loads((_FOLDER / f"{file}.json").read_text())
    exchange = next(one for one in recording["exchanges"] if one["what"] == what)
    return exchange["response"]["json"]


@cache
def names_in(file: str, what: str) -> tuple[str, ...]:
    """The names in a recorded list."""
    return tuple(entry["name"] for entry in answer_to(file, what))


def recorded_scripts() -> Any:
    """The scripts, each with its arguments."""
    return answer_to("script_info", "script-info (labels and argument shapes)")
