"""JSON of strangers becomes no more than was allowed, and what is no JSON is said to be none."""

import json

import pytest

from queue_agent.wire.bounded_json import JsonError, load

ALLOWED = {
    "nothing but a number": ("1", 1),
    "marks within a text": ('["' + "[{,:" * 1000 + '"]', ["[{,:" * 1000]),
    "marks after an escaped quote": (r'["\",,,,,,,,,,,,,,,,[[[[[["]', ['",,,,,,,,,,,,,,,,[[[[[[']),
    "a text that ends in a backslash": (r'["\\", 1]', ["\\", 1]),
    "an escaped backslash before marks": (r'["\\\",[[[[[[[[[[[[[,,,"]', ['\\",[[[[[[[[[[[[[,,,']),
    "as many values as are allowed": (json.dumps([1] * 10), [1] * 10),
    "as deep as is allowed": ("[" * 5 + "]" * 5, [[[[[]]]]]),
    "the same key twice": ('{"a": 1, "a": 2}', {"a": 2}),
    "letters of others": ('{"ä": "日本"}', {"ä": "日本"}),
}

REFUSED = {
    "empty lists": "[" + "[]," * 20 + "[]]",
    "empty objects": "[" + "{}," * 20 + "{}]",
    "numbers": json.dumps([1] * 12),
    "texts": json.dumps([""] * 12),
    "keys": json.dumps({str(key): 1 for key in range(12)}),
    "values after a text": json.dumps([r"\"", *[1] * 12]),
    "nested lists": "[" * 6 + "]" * 6,
    "nested objects": '{"a":' * 6 + "1" + "}" * 6,
    "nested without an end": "[" * 100_000,
    "more ends than beginnings": "]" * 100_000 + "[1]",
    "a text without an end": '["' + "a,[" * 1000,
    "a backslash at the end": '["a,,,,,,,,,,,,,,,\\',
    "nothing": "",
    "two values": "1 2",
    "not a number": "[NaN]",
    "infinity": "[-Infinity]",
    "half a surrogate pair": r'["\ud800"]',
    "half a surrogate pair, unescaped": "\ud800",
    "a number without an end": "1" * 100_000,
}


@pytest.mark.parametrize(("text", "value"), ALLOWED.values(), ids=ALLOWED.keys())
def test_what_is_within_the_limits_is_read(text: str, value: object) -> None:
    for data in (text, text.encode()):
        assert load(data, max_values=11, max_depth=5) == value


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_more_or_no_json_is_refused(text: str) -> None:
    with pytest.raises(JsonError):
        load(text, max_values=11, max_depth=5)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(JsonError):
        load(b'["\xff"]')


def test_a_large_text_is_no_large_number_of_values() -> None:
    text = "[,{:" * 2**20
    assert load(json.dumps({"image": text})) == {"image": text}
