"""Answers in JSON are read piece by piece, and their images never lie in memory as texts."""

import base64
import json
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest

from queue_agent.media.asset import Spools
from queue_agent.runtime.http.json_answers import (
    LONGEST_TEXT,
    MOST_TEXT,
    JsonReader,
    SpooledText,
    parse_json,
)
from queue_agent.wire.errors import Unavailable

pytestmark = pytest.mark.asyncio


@pytest.fixture
def spools() -> Iterator[Spools]:
    with Spools() as spools:
        yield spools


async def read(spools: Spools, text: bytes, size: int = 65_536) -> Any:
    """The text's value, where it comes in pieces of that size."""
    reader = JsonReader(spools)
    for start in range(0, len(text), size):
        await reader.feed(text[start : start + size])
    return await reader.value()


def content(text: Any) -> bytes:
    assert isinstance(text, SpooledText)
    assert text == ""
    data: bytes = text.asset.data
    return data


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311  no secret


SIZES = [LONGEST_TEXT * 3 // 4 + 3, 100_000, 100_001, 100_002, 3 * 2**20]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [997, 65_536, 10**8])
async def test_a_long_base64_text_goes_into_a_spool(spools: Spools, size: int, piece: int) -> None:
    data = noise(size)
    text = json.dumps({"a": [1, base64.b64encode(data).decode()], "info": '{"b": "\\"}'})
    value = await read(spools, text.encode(), piece)
    assert content(value["a"][1]) == data
    assert value["a"][0] == 1
    assert value["info"] == '{"b": "\\"}'


async def test_each_text_has_its_own_bytes_in_any_place(spools: Spools) -> None:
    images = [noise(100_000, seed) for seed in range(4)]
    encoded = [base64.b64encode(image).decode() for image in images]
    answer = {"data": [{"b64_json": encoded[0], "seed": 1}, {"b64_json": encoded[1]}],
              "images": encoded[2:], "short": encoded[0][:400]}  # fmt: skip
    value = await read(spools, json.dumps(answer).encode())
    found = [*(entry["b64_json"] for entry in value["data"]), *value["images"]]
    assert list(map(content, found)) == images
    assert value["short"] == encoded[0][:400]
    assert value["data"][0]["seed"] == 1


@pytest.mark.parametrize(
    "written",
    [
        lambda text: "data:image/png;base64," + text,
        lambda text: text.replace("/", "\\/"),
        lambda text: text.replace("+", "\\u002b"),
        lambda text: text.replace("+", "\\u002B").replace("/", "\\/"),
        lambda text: "\\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
        lambda text: "\\r\\n".join(text[at : at + 64] for at in range(0, len(text), 64)) + "\\n",
    ],
    ids=["data URL", "slashes", "plus", "both", "lines", "lines and one more"],
)
@pytest.mark.parametrize("piece", [1, 5, 4096])
async def test_base64_is_understood_however_it_is_written(
    spools: Spools, written: Any, piece: int
) -> None:
    data = noise(60_000)
    text = written(base64.b64encode(data).decode())
    value = await read(spools, b'["' + text.encode() + b'"]', piece)
    assert content(value[0]) == data


@pytest.mark.parametrize(
    "text",
    [
        "a lighthouse at dusk, " * 8000,
        '{"quoted": "\\\\\\""}' * 8000,
        "\\" * 100_000,
        "ü" * 100_000,
        "A" * (LONGEST_TEXT - 10) + " and some more words, with a comma",
        "-_" * 60_000,
    ],
    ids=["words", "quotes", "backslashes", "umlauts", "late", "another alphabet"],
)
@pytest.mark.parametrize("piece", [1009, 65_536])
async def test_a_long_text_of_another_kind_stays_what_it_is(
    spools: Spools, text: str, piece: int
) -> None:
    value = await read(spools, json.dumps({"info": text, "n": 1}).encode(), piece)
    assert value == {"info": text, "n": 1}


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
async def test_short_texts_are_read_as_by_any_reader(spools: Spools, piece: int) -> None:
    value = {"a\\": ['"', "\\", '\\"', "ü\u2028😀", ""], "b": {"": [None, True, 1.5, -3]}}
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert await read(spools, text.encode(), piece) == value


LONG = base64.b64encode(noise(90_000))


@pytest.mark.parametrize(
    "text",
    [
        b'["' + LONG + b'*"]',
        b'["' + LONG + b'A"]',
        b'["' + LONG + b'=="]',
        b'["' + LONG + b'AA==AAAA"]',
        b'["' + LONG + b'\\u00fc"]',
        b'["' + LONG + b'\\q"]',
        b'["' + LONG,
        b'["' + LONG + b'"',
        b'["' + LONG + b'", }',
        b'["',
        b"",
    ],
)
@pytest.mark.parametrize("piece", [4096, 9973])
async def test_what_is_cut_off_or_wrong_is_unavailable(
    spools: Spools, text: bytes, piece: int
) -> None:
    with pytest.raises(Unavailable) as caught:
        await read(spools, text, piece)
    assert caught.value.type == "invalid_answer"


async def test_what_is_no_image_has_a_limit(spools: Spools) -> None:
    text = b"[" + b", ".join([b'"' + b"a, " * 300_000 + b'"'] * (MOST_TEXT // 900_000 + 2)) + b"]"
    with pytest.raises(Unavailable) as caught:
        await read(spools, text)
    assert caught.value.type == "answer_too_large"


async def test_a_text_that_bears_no_mark_of_ours_is_never_taken_for_an_image(
    spools: Spools,
) -> None:
    value = await read(spools, json.dumps([LONG.decode(), "0", "00000000"]).encode())
    assert value[1:] == ["0", "00000000"]


async def test_files_are_gone_with_the_block_but_for_those_that_were_kept() -> None:
    text = json.dumps([base64.b64encode(noise(2 * 2**20, seed)).decode() for seed in range(3)])
    with Spools() as spools:
        value = await read(spools, text.encode())
        spools.keep([value[1].asset])
    with pytest.raises(ValueError, match="closed"):
        value[0].asset.open()
    assert value[1].asset.data == noise(2 * 2**20, 1)
    value[1].asset.close()


async def test_numbers_that_json_does_not_have_are_null() -> None:
    text = '{"a": NaN, "b": [Infinity, -Infinity, 1e999, 1.5], "c": {"d": [[NaN]]}, "e": "NaN"}'
    assert parse_json(text) == {
        "a": None,
        "b": [None, None, None, 1.5],
        "c": {"d": [[None]]},
        "e": "NaN",
    }
    assert parse_json("NaN") is None
    assert parse_json(json.dumps([math.inf])) == [None]


ENDLESS = "7" * 5000


async def test_an_integer_without_end_is_null_and_the_rest_is_read() -> None:
    numbers = f'{{"a": {ENDLESS}, "b": [-{ENDLESS}, {ENDLESS}.5, {ENDLESS}5e-7], '
    text = numbers + f'"c": "{ENDLESS} \\"{ENDLESS}", "d": 1{"0" * 308}, "e": {2**1023}}}'
    assert parse_json(text) == {
        "a": None,
        "b": [None, None, None],
        "c": f'{ENDLESS} "{ENDLESS}',
        "d": 10**308,
        "e": 2**1023,
    }
    assert parse_json(ENDLESS.encode()) is None


async def test_an_integer_that_no_float_is_as_large_as_is_null() -> None:
    assert parse_json(f'{{"n": 1{"0" * 400}, "m": [-1{"0" * 309}, true]}}') == {
        "n": None,
        "m": [None, True],
    }


@pytest.mark.parametrize("piece", [7, 65_536])
async def test_an_integer_without_end_costs_a_large_answer_no_image(
    spools: Spools, piece: int
) -> None:
    text = b'{"seed": %s, "image": "%s"}' % (ENDLESS.encode(), LONG)
    value = await read(spools, text, piece)
    assert value["seed"] is None
    assert base64.b64encode(content(value["image"])) == LONG


async def test_half_a_character_is_replaced_and_the_rest_is_read() -> None:
    name = b"r\xe9sum\xe9.safetensors".decode(errors="surrogateescape")
    text = json.dumps({"models": [name, "ü😀", "\\ud800"], name: 1})
    assert parse_json(text) == {
        "models": ["r\ufffdsum\ufffd.safetensors", "ü😀", "\\ud800"],
        "r\ufffdsum\ufffd.safetensors": 1,
    }
    assert parse_json('["\\ud83d\\ud83d\\ude00"]') == ["\ufffd😀"]
    assert parse_json(b'["caf\xe9"]') == ["caf\ufffd"]


@pytest.mark.parametrize(
    "text",
    ["0" * 5000, ENDLESS + "x", f'{{"a": {ENDLESS}', f'["{ENDLESS}', '["\\ud80"]', "\\ud800"],
)
async def test_what_is_no_json_stays_so_beside_numbers_without_end(text: str) -> None:
    with pytest.raises(ValueError, match="line 1 column"):
        parse_json(text)
