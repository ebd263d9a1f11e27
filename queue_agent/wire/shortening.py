"""Foreign texts, cut to what people read: a message of megabytes is no message."""

from typing import Final, overload

from pydantic import JsonValue

__all__ = ["SHORT", "shortened"]

SHORT: Final = 300
"""Letters of one foreign text among others."""


@overload
def shortened(value: str, most: int = SHORT) -> str: ...


@overload
def shortened(value: JsonValue, most: int = SHORT) -> JsonValue: ...


def shortened(value: JsonValue, most: int = SHORT) -> JsonValue:
    """The value with each text in it, names of fields too, cut to so many letters."""
    if isinstance(value, str):
        left_out = len(value) - most
        return value if left_out <= 0 else f"{value[:most]}… (and {left_out} more letters)"
    if isinstance(value, dict):
        return {shortened(name, most): shortened(part, most) for name, part in value.items()}
    if isinstance(value, list):
        return [shortened(part, most) for part in value]
    return value
