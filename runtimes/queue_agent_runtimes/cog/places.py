"""Places within an input: steps by name and by number."""

from collections.abc import Iterator

from pydantic import JsonValue

Place = tuple[str | int, ...]
"""``("images", 0)``: the first entry of `images`."""


def texts_in(value: JsonValue, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every text in a value and where it stands, in order."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from texts_in(entry, (*place, name))
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from texts_in(entry, (*place, number))


def shown(place: Place) -> str:
    """As people write it: ``images[0]``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step[:100]}" for step in place)
    return "".join(steps).removeprefix(".")
