"""How much is tried, and what with.

`FUZZ_FACTOR` multiplies the examples (`make fuzz`). Without it the examples are always the
same ones, so that no change is blamed for what it did not do.
"""

import json
import math
import os
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import JsonValue

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., None])
Json = dict[str, JsonValue]

FACTOR: Final = int(os.environ.get("FUZZ_FACTOR", "0"))

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("fuzz", settings.get_profile("ci"), derandomize=False, print_blob=True)


def examples(count: int) -> Callable[[F], F]:
    """Try so many examples, or a multiple of them."""
    profile = settings.get_profile("fuzz" if FACTOR else "ci")
    return settings(profile, max_examples=count * max(1, FACTOR))


def settled(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that gives way but waits for nothing; needs no event loop."""
    try:
        while True:
            work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result


ODD_TEXTS: Final = (
    "",
    " ",
    "..",
    "../../etc/passwd",
    "/",
    "\x00",
    "\u202e",
    "😀" * 20,
    "https://example.com/a.png?X=1",
    "http://[::1",
    "http://[v1.a]:99999999/@",
    "s3://bucket/../key",
    "data:image/png;base64,",
    "data:,",
    "AAAA",
    "$not{base64}",
    "2030-01-01T00:00:00Z",
    "99999-99-99T99:99:99+99:99",
    "1e400",
    "NaN",
    "a" * 5_000,
)
ODD_NUMBERS: Final[tuple[float, ...]] = (
    *(0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400),
    *(-0.0, 0.5, 5e-324, 1e308, math.inf, math.nan),
)

scalars: SearchStrategy[JsonValue] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(ODD_NUMBERS),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(ODD_TEXTS),
    st.text(max_size=20),
)
json_values: SearchStrategy[JsonValue] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


def written(value: JsonValue) -> str:
    return json.dumps(value)


Path = tuple[str | int, ...]


@st.composite
def mutated(draw: st.DrawFn, originals: tuple[JsonValue, ...]) -> JsonValue:
    """One of the originals after a few changes: something in it is left out, wrapped, or
    exchanged with something odd of its own or of any other kind.

    Where and how is left to chance itself: hypothesis prefers what comes first.
    """
    chance = draw(st.randoms(use_true_random=True))
    value = chance.choice(originals)
    for _ in range(chance.choice((1, 1, 2, 4))):
        paths = list(_paths(value))
        path = chance.choice(paths[1:] or paths)
        there = _at(value, path)
        match chance.choice(("odd", "odd", "any", "wrapped", "absent")):
            case "odd":
                odd = ODD_NUMBERS if isinstance(there, int | float) else ODD_TEXTS
                value = _put(value, path, chance.choice(odd))
            case "any":
                value = _put(value, path, draw(json_values))
            case "wrapped":
                value = _put(value, path, [there])
            case "absent" if path:
                value = _put(value, path[:-1], _without(_at(value, path[:-1]), path[-1]))
    return value


def _without(value: JsonValue, step: str | int) -> JsonValue:
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if key != step}
    if isinstance(value, list):
        return [item for place, item in enumerate(value) if place != step]
    return value


def _paths(value: JsonValue, above: Path = ()) -> Iterator[Path]:
    yield above
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(item, (*above, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _paths(item, (*above, place))


def _at(value: JsonValue, path: Path) -> JsonValue:
    for step in path:
        if isinstance(value, dict):
            value = value[str(step)]
        elif isinstance(value, list):
            value = value[int(step)]
    return value


def _put(value: JsonValue, path: Path, new: JsonValue) -> JsonValue:
    """A copy with something else in that place."""
    if not path:
        return new
    if isinstance(value, dict):
        return {**value, str(path[0]): _put(value[str(path[0])], path[1:], new)}
    if isinstance(value, list):
        items = list(value)
        items[int(path[0])] = _put(items[int(path[0])], path[1:], new)
        return items
    return value


@st.composite
def damaged(draw: st.DrawFn, texts: SearchStrategy[str]) -> str:
    """A text with a piece cut out, doubled, or put in."""
    text = draw(texts)
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 40)))
    middle = draw(st.one_of(st.just(""), st.just(text[start:end] * 2), st.text(max_size=10)))
    return text[:start] + middle + text[end:]
