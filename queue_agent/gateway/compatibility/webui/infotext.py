"""Reading the text that the Web UI writes into its images.

As `modules/infotext_utils.py` of version 1.10.1 does, in time that grows with the text alone.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

from pydantic import JsonValue

_LONGEST: Final = 20_000
"""Letters that are read."""
_NEGATIVE: Final = "Negative prompt:"
_NAME: Final = re.compile(r"(?<!\w)(\w[\w \-/]{1,60}):\s*")
_QUOTED: Final = re.compile(r'"(?:\\.|[^\\"])+"(?=,|$)')
_PLAIN: Final = re.compile(r"[^,]*")
_SIZE: Final = re.compile(r"(\d+)x(\d+)")
_PARAMETERS: Final = 3
"""A last line of fewer belongs to the prompt."""
_DEFAULTS: Final[dict[str, JsonValue]] = {
    "Clip skip": "1",
    "Hires resize-1": 0,
    "Hires resize-2": 0,
    "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler",
    "Hires checkpoint": "Use same checkpoint",
    "Hires prompt": "",
    "Hires negative prompt": "",
    "Mask mode": "Inpaint masked",
    "Masked content": "original",
    "Inpaint area": "Whole picture",
    "Masked area padding": 32,
    "RNG": "GPU",
    "Schedule type": "Automatic",
    "Schedule max sigma": 0,
    "Schedule min sigma": 0,
    "Schedule rho": 0,
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "FP8 weight": "Disable",
    "Refiner switch by sampling steps": False,
}


def parse_infotext(text: str) -> dict[str, JsonValue]:
    """The parameters by their names, with the Web UI's defaults for those that are not there."""
    *lines, last = text[:_LONGEST].strip().split("\n")
    pairs = [*_pairs(last)]
    if len(pairs) < _PARAMETERS:
        lines.append(last)
        pairs = []
    prompt: list[str] = []
    negative: list[str] = []
    part = prompt
    for line in map(str.strip, lines):
        if line.startswith(_NEGATIVE):
            part = negative
            part.append(line.removeprefix(_NEGATIVE).strip())
        else:
            part.append(line)
    found: dict[str, JsonValue] = {}
    for name, value in pairs:
        if (size := _SIZE.fullmatch(value)) is not None:
            found[f"{name}-1"], found[f"{name}-2"] = size.groups()
        else:
            found[name] = value
    found["Prompt"], found["Negative prompt"] = "\n".join(prompt), "\n".join(negative)
    return found | {name: value for name, value in _DEFAULTS.items() if name not in found}


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """Names and values of ``Steps: 20, Size: 512x512, Hires prompt: "a, b"``."""
    place = 0
    while (name := _NAME.search(line, place)) is not None:
        quoted = _QUOTED.match(line, name.end())
        value = quoted or _PLAIN.match(line, name.end())
        if value is None:
            return
        yield name[1], _unquoted(value[0]) if quoted else value[0]
        place = value.end() + 1


def _unquoted(value: str) -> str:
    try:
        text = json.loads(value)
    except ValueError:
        return value
    return text if isinstance(text, str) else value
