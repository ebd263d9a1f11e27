"""Large flat bodies, deep ones and mixtures: a job or an error of ours, and never much memory."""

import tracemalloc
from contextlib import suppress
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.fuzzing import examples
from queue_agent.wire.bounded_json import JsonError, load
from queue_agent.wire.errors import Malformed, Rejected
from queue_agent.wire.job import parse_job
from queue_agent.wire.submission import read_body

ATOMS: Final = ("[]", "{}", "0", '""', "null", '"a,b:[{"', "[[]]", '{"a":1}', "-1e5", r'"\"["')
MOST: Final = 100_000
"""Values that a body may have."""


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """A list or object of many small values, perhaps in another, perhaps cut off."""
    atom = draw(st.sampled_from(ATOMS))
    count = draw(st.integers(1, 3 * MOST // 2))
    depth = draw(st.integers(0, 150))
    inner = ",".join([atom] * count)
    text = "[" * depth + f'{{"metadata": {{}}, "content": {{"x": [{inner}]}}}}' + "]" * depth
    return text[: draw(st.integers(1, len(text)))] if draw(st.booleans()) else text


@examples(12)
@given(bodies())
def test_a_large_body_is_read_or_refused_in_our_words(text: str) -> None:
    for read, refusals in ((parse_job, Malformed), (read_body, Rejected)):
        with suppress(refusals):
            read(text)


@examples(5)
@given(st.sampled_from(ATOMS), st.integers(MOST + 1, 4 * MOST))
def test_what_is_refused_for_its_size_was_never_made(atom: str, count: int) -> None:
    text = f"[{','.join([atom] * count)}]"
    tracemalloc.start()
    try:
        with pytest.raises(JsonError):
            load(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(text) + 2**20
