"""What stands among widgets' values and is no value: what buttons and controls say."""

from typing import Final

from pydantic import JsonValue

_CONTROLS: Final = frozenset({"fixed", "increment", "increment-wrap", "decrement", "randomize"})
"""Of *control after generate*, the widget that the editor puts behind each seed."""
_BUTTONS: Final = frozenset({"image", "upload", "upload3dmodel", "uploadExtraResources", "clear"})


def is_control(value: JsonValue) -> bool:
    return isinstance(value, str) and value in _CONTROLS


def is_no_value(value: JsonValue) -> bool:
    """Whether it may be a button's or a player's, which the editor saves with the rest."""
    return value is None or value == "" or (isinstance(value, str) and value in _BUTTONS)
