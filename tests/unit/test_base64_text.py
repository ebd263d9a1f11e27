"""Base64 is read the same, however it is broken into lines and pieces."""

import base64

import pytest

from queue_agent.media.base64_text import Base64Decoder, decode_base64

DATA = bytes(range(256)) * 3 + b"!"
TEXT = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "\n".join(TEXT[place : place + 76] for place in range(0, len(TEXT), 76)),
        " \t".join(TEXT),
        f"\r\n{TEXT}\r\n",
    ],
    ids=["one line", "lines", "blanks", "line breaks around"],
)
def test_space_counts_for_nothing(text: str) -> None:
    assert decode_base64(text) == DATA
    for size in (1, 5, 1000):
        decoder = Base64Decoder()
        pieces = [text[place : place + size].encode() for place in range(0, len(text), size)]
        assert b"".join(map(decoder.decode, pieces)) == DATA
        assert decoder.is_complete


@pytest.mark.parametrize(
    "text",
    ["YQ=", "Y", "YQ==YQ==", "YQ==\nYQ==", "Y*==", "YQ\x0b==", "Yé==", "YQ-_"],
    ids=["cut", "one letter", "two", "two lines", "a star", "other space", "letters", "for URLs"],
)
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  all there is to it
        decode_base64(text)
