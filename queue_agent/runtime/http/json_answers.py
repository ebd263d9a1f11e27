"""JSON that servers answer with: what they mean by it, and long base64 texts taken out of it.

An image in JSON is a text of four thirds of its size. Answers of more than a mebibyte are
therefore read piece by piece: a long base64 text is decoded as it comes and goes into a spool,
the rest is kept, so that no more of the answer is ever in memory than what is no image.
"""

import math
import re
import secrets
import sys
from codecs import BOM_UTF8
from typing import Final

from pydantic import JsonValue
from pydantic_core import from_json

from queue_agent.media.asset import Asset, Spool, Spools
from queue_agent.media.base64_text import Base64Decoder
from queue_agent.wire.errors import Unavailable

LONGEST_TEXT: Final = 64 * 1024
"""Bytes up to which a text stays what it is."""
MOST_TEXT: Final = 16 * 2**20
"""Bytes of an answer beside its long base64 texts; more is taken for a fault of the runtime."""

_BASE64: Final = re.compile(
    rb"(?:data:[^,\"\\]{0,200},)?((?:[A-Za-z0-9+/=\s]++|\\[/nrt]|\\u00[2-7][0-9A-Fa-f])*+)"
)
"""The begin of a text that may be base64, or a data URL with it, as JSON writes it."""
_ESCAPE: Final = re.compile(rb"\\(?:u[0-9A-Fa-f]{0,3})?\Z")
"""An escape sequence that the next piece goes on with."""

_UNREADABLE: Final = re.compile(r"[1-9][0-9]{309}|\\u[dD][89a-fA-F]|\ufffd")
_STRING_OR_NUMBER: Final = re.compile(
    r"""(?P<string>"(?:[^"\\]++|\\.)*+"?)|-?[1-9][0-9]{309,}+(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?""",
    re.DOTALL,
)
"""Strings, and numbers of so many digits that they can be none."""
_ESCAPED: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
"""What a backslash begins in a string: a pair of surrogates, half a pair, or something else."""
_LARGEST: Final = int(sys.float_info.max)
_MAY_BE_CHANGED: Final = (float, int, dict, list)


class SpooledText(str):
    """A long base64 text of an answer, whose bytes are in `asset`; as a text it is empty."""

    __slots__ = ("asset",)
    asset: Asset


def parse_json(text: bytes | str) -> JsonValue:
    """The value of a JSON text by a server's understanding of it.

    Python's servers write numbers that JSON does not have (``NaN``, ``Infinity``): they, and
    what is too large to be a number, are read as null. They also write texts with halves of
    characters, of file names that are no UTF-8 say, and these are read with U+FFFD in their place.
    A byte order mark before it is ignored.

    Raises:
        ValueError: it is no JSON.
    """
    if isinstance(text, bytes):
        text = text.removeprefix(BOM_UTF8)
    try:
        value: JsonValue = from_json(text)
    except ValueError:
        text = text if isinstance(text, str) else text.decode(errors="replace")
        if not _UNREADABLE.search(text):
            raise
        value = from_json(_mended(text))
    return _finite(value)


def _mended(text: str) -> str:
    """The text with what no reader takes put into words that all take."""

    def of_escaped(found: re.Match[str]) -> str:
        return "\\ufffd" if found["half"] else found[0]

    def of_value(found: re.Match[str]) -> str:
        return _ESCAPED.sub(of_escaped, found[0]) if found["string"] else "null"

    return _STRING_OR_NUMBER.sub(of_value, text)


def _finite(value: JsonValue) -> JsonValue:
    """The value, changed in place."""
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, _MAY_BE_CHANGED):
                value[name] = _finite(item)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            if isinstance(item, _MAY_BE_CHANGED):
                value[place] = _finite(item)
    elif isinstance(value, float):
        return value if math.isfinite(value) else None
    elif isinstance(value, int):
        return value if -_LARGEST <= value <= _LARGEST else None
    return value


class JsonReader:
    """Takes in a JSON text piece by piece; its long base64 texts go into spools."""

    def __init__(self, spools: Spools) -> None:
        self._spools = spools
        self._rest = bytearray()
        """The text without what was taken out."""
        self._text: _Text | None = None
        """The string that has begun."""
        self._mark = secrets.token_hex(16)
        self._taken: list[Spool] = []

    async def feed(self, piece: bytes) -> None:
        """Take in what comes next.

        Raises:
            Unavailable: a long text is no base64 (type ``invalid_answer``), the temporary folder
                is full, or there is too much beside such texts (type ``answer_too_large``).
        """
        start = 0
        while start < len(piece):
            if self._text is None:
                end = piece.find(b'"', start) + 1
                self._rest += piece[start : end or len(piece)]
                if end:
                    self._text = _Text()
                start = end or len(piece)
            else:
                end = self._text.end_in(piece, start)
                await self._take(self._text, piece[start:end])
                if end < len(piece):  # at its closing quotation mark
                    await self._close(self._text)
                start = end + 1
        if len(self._rest) > MOST_TEXT:
            raise Unavailable(
                f"The runtime's answer has over {MOST_TEXT} bytes beside its images.",
                type="answer_too_large",
            )

    async def value(self) -> JsonValue:
        """The whole text's value.

        Raises:
            Unavailable: it is no JSON, or ends too early (type ``invalid_answer``).
        """
        if self._text is not None:
            raise _no_json("a text has no end")
        try:
            value = parse_json(bytes(self._rest))
        except ValueError as error:
            raise _no_json(str(error)) from error
        texts = {}
        for number, spool in enumerate(self._taken):
            text = texts[f"{self._mark}{number}"] = SpooledText()
            text.asset = await spool.asset()
        return _with_texts(value, texts)

    async def _take(self, text: "_Text", piece: bytes) -> None:
        if text.decoder is None:
            self._rest += piece
            text.size += len(piece)
            if text.size > LONGEST_TEXT and not text.stays:
                await self._decide(text)
            return
        await self._decode(text, piece)

    async def _decide(self, text: "_Text") -> None:
        """Whether a text that has become long is base64, by what of it is here."""
        begin = bytes(self._rest[-text.size :])
        match = _BASE64.fullmatch(_ESCAPE.sub(b"", begin))
        if match is None:
            text.stays = True
            return
        del self._rest[-text.size :]
        self._rest += f"{self._mark}{len(self._taken)}".encode()
        text.decoder = Base64Decoder()
        text.spool = self._spools.new()
        self._taken.append(text.spool)
        await self._decode(text, begin[match.start(1) :])

    async def _decode(self, text: "_Text", piece: bytes) -> None:
        try:
            data = text.decoder.decode(text.unescaped(piece)) if text.decoder else b""
        except ValueError as error:
            raise _no_base64() from error
        if text.spool is not None:
            await text.spool.write(data)

    async def _close(self, text: "_Text") -> None:
        if text.decoder is not None and not (text.decoder.is_complete and not text.pending):
            raise _no_base64()
        self._rest += b'"'
        self._text = None


class _Text:
    """A string of the JSON text, from behind its first quotation mark."""

    def __init__(self) -> None:
        self.size = 0
        """So many of its bytes are at the end of the rest."""
        self.stays = False
        """It is long, and no base64."""
        self.decoder: Base64Decoder | None = None
        self.spool: Spool | None = None
        self.pending = b""
        """The begin of an escape sequence."""
        self._escaped = False
        """Whether the next byte belongs to an escape sequence."""

    def end_in(self, piece: bytes, start: int) -> int:
        """Where its closing quotation mark is; the piece's length if it is not in it."""
        place = start
        while (quote := piece.find(b'"', place)) >= 0:
            if not self._is_escaped(piece, start, quote):
                return quote
            place = quote + 1
        self._escaped = self._is_escaped(piece, start, len(piece))
        return len(piece)

    def _is_escaped(self, piece: bytes, start: int, place: int) -> bool:
        """Whether an odd number of backslashes stands before."""
        before = piece[start:place]
        count = len(before) - len(before.rstrip(b"\\"))
        return bool((count + (self._escaped and count == len(before))) % 2)

    def unescaped(self, piece: bytes) -> bytes:
        """The text of a piece, by JSON's rules; what is not complete waits for the next.

        Raises:
            ValueError: it breaks them.
        """
        if not self.pending and b"\\" not in piece:
            return piece
        piece = self.pending + piece
        cut = _ESCAPE.search(piece)
        whole = piece[: cut.start()] if cut else piece
        self.pending = piece[len(whole) :]
        return str(from_json(b'"' + whole + b'"')).encode()


def _with_texts(value: JsonValue, texts: dict[str, SpooledText]) -> JsonValue:
    if isinstance(value, str):
        return texts.get(value, value)
    if isinstance(value, list):
        return [_with_texts(item, texts) for item in value]
    if isinstance(value, dict):
        return {name: _with_texts(item, texts) for name, item in value.items()}
    return value


def _no_json(reason: str) -> Unavailable:
    return Unavailable(f"The runtime's answer is not JSON: {reason}", type="invalid_answer")


def _no_base64() -> Unavailable:
    return Unavailable("A text of the runtime's answer is no base64.", type="invalid_answer")
