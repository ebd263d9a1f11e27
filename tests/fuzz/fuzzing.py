"""How much is tried, and what with.

`FUZZ_FACTOR` multiplies the examples (`make fuzz`). Without it the examples are always the
same ones, so that no change is blamed for what it did not do.
"""

import json
import math
import os
from collections.abc import Callable, Coroutine
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


@st.composite
def mutated(draw: st.DrawFn, originals: tuple[JsonValue, ...]) -> JsonValue:
    """One of the originals after a few changes somewhere inside: a value replaced, left out,
    put in a list, or repeated under another name.
    """
    value = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 3))):
        value = _change(draw, value)
    return value


_MOSTLY: Final = st.integers(0, 11).map(bool)


def _change(draw: st.DrawFn, value: JsonValue) -> JsonValue:
    """Walk down a random path and change what is there."""
    if isinstance(value, dict) and value and draw(_MOSTLY):
        key = draw(st.sampled_from(sorted(value)))
        if not draw(_MOSTLY):
            return {name: item for name, item in value.items() if name != key}
        if not draw(_MOSTLY):
            return {**value, draw(st.text(max_size=8)): value[key]}
        return {**value, key: _change(draw, value[key])}
    if isinstance(value, list) and value and draw(_MOSTLY):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], _change(draw, value[place]), *value[place + 1 :]]
    if draw(st.booleans()):
        odd = ODD_NUMBERS if isinstance(value, int | float) else ODD_TEXTS
        return draw(st.sampled_from(odd))
    return draw(json_values) if draw(_MOSTLY) else [value]


@st.composite
def damaged(draw: st.DrawFn, texts: SearchStrategy[str]) -> str:
    """A text with a piece cut out, doubled, or put in."""
    text = draw(texts)
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 40)))
    middle = draw(st.one_of(st.just(""), st.just(text[start:end] * 2), st.text(max_size=10)))
    return text[:start] + middle + text[end:]
