"""How much a job may be sped up at the cost of its pictures, in the words of the portable form."""

from collections.abc import Mapping
from typing import Final, Literal, get_args

from pydantic import JsonValue

__all__ = ["QUALITIES", "Quality", "parse_quality", "quality_of"]

Quality = Literal["exact", "balanced", "fast"]
"""Each step is computed; steps reuse what earlier ones made where that hardly changed; or more."""
QUALITIES: Final[tuple[Quality, ...]] = get_args(Quality)
"""From the best to the fastest."""

_OPENAI: Final[Mapping[str, Quality | None]] = {
    "auto": None,
    "standard": None,
    "hd": "exact",
    "high": "exact",
    "medium": "balanced",
    "low": "fast",
}
"""https://platform.openai.com/docs/api-reference/images/create#images-create-quality"""


def parse_quality(value: object) -> Quality | None:
    """The quality that a field asks for, in our words or OpenAI's; None leaves it to the runtime.

    Raises:
        ValueError: it is none of them.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        for quality in QUALITIES:
            if value == quality:
                return quality
        if value in _OPENAI:
            return _OPENAI[value]
    raise ValueError(f"must be {', '.join(QUALITIES[:-1])} or {QUALITIES[-1]}")


def quality_of(content: Mapping[str, JsonValue]) -> Quality | None:
    """What a job asks for, read tolerantly: runtimes may have such a field of their own."""
    try:
        return parse_quality(content.get("quality"))
    except ValueError:
        return None
