"""A content check behind HTTP: a file and its facts go there, and the verdict comes back.

The request is a `multipart/form-data` of two parts: `facts`, a JSON object, and `file`. Answered
is either JSON, ``{"verdict": "pass"}`` or ``{"verdict": "withhold", "reason": "…"}``, or the file
that is delivered instead, of the media type that it is.

The address is the operator's: no redirect is followed, and no proxy or cookie is used.
"""

import secrets
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from queue_agent.media.asset import IN_MEMORY, Asset, Spools
from queue_agent.media.facts import typed
from queue_agent.outputs.checkers import CheckedFile, ContentChecker, ContentVerdict
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.media_types import extension

if TYPE_CHECKING:
    import httpx

_LONGEST_ANSWER: Final = 64 * 2**10
"""Bytes of JSON."""
_LARGEST_FILE: Final = 512 * 2**20
"""Bytes of a replacement."""
_MEDIA: Final = ("image/", "video/", "audio/", "model/")


class _Answer(BaseModel):
    verdict: Literal["pass", "withhold"]
    reason: str | None = None


class EndpointChecker(ContentChecker):
    """Asks one address, `connections` at a time; `headers` go along with each request."""

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, connections: int = 4
    ) -> None:
        self._url = url
        self._headers = dict(headers or {})
        self._connections = connections
        self._opened: httpx.AsyncClient | None = None

    async def check(self, file: CheckedFile) -> ContentVerdict:
        """The endpoint's verdict.

        Raises:
            Unavailable: there is none.
        """
        import httpx  # noqa: PLC0415  a tenth of a second that most agents need not pay

        boundary = secrets.token_hex(16)
        head, tail = _around(file, boundary)
        headers = {
            **self._headers,
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + file.asset.size + len(tail)),
        }
        try:
            async with self._client.stream(
                "POST", self._url, headers=headers, content=_body(head, file.asset, tail)
            ) as answer:
                return await _verdict(answer)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise _none(f"cannot be reached: {reason}") from error

    async def aclose(self) -> None:
        if self._opened is not None:
            await self._opened.aclose()
            self._opened = None

    @property
    def _client(self) -> "httpx.AsyncClient":
        if self._opened is None:
            import httpx  # noqa: PLC0415

            self._opened = httpx.AsyncClient(
                headers={"User-Agent": "queue-agent", "Accept-Encoding": "identity"},
                limits=httpx.Limits(max_connections=self._connections),
                timeout=None,  # noqa: S113  the whole check has a limit
                trust_env=False,
            )
        return self._opened


def _around(file: CheckedFile, boundary: str) -> tuple[bytes, bytes]:
    """What stands before the file's bytes, and after them."""
    kind = file.asset.media_type
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="facts"\r\n'
        "Content-Type: application/json\r\n\r\n".encode()
        + to_json(file.facts)
        + f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="file"; '
        f'filename="{file.number}.{extension(kind)}"\r\nContent-Type: {kind}\r\n\r\n'.encode()
    )
    return head, f"\r\n--{boundary}--\r\n".encode()


async def _body(head: bytes, asset: Asset, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    async for piece in asset.stream(IN_MEMORY):
        yield piece
    yield tail


async def _verdict(answer: "httpx.Response") -> ContentVerdict:
    if answer.status_code != 200:
        raise _none(f"answered HTTP {answer.status_code}")
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith(_MEDIA):
        return ContentVerdict.replaced(await _file(answer))
    if kind != "application/json":
        raise _none(f"answered {kind or 'without a media type'}, neither JSON nor media")
    text = bytearray()
    async for piece in answer.aiter_bytes():
        text += piece
        if len(text) > _LONGEST_ANSWER:
            raise _none("answered too much")
    try:
        found = _Answer.model_validate_json(bytes(text))
    except ValidationError as error:
        raise _none("answered no verdict: pass or withhold") from error
    if found.verdict == "pass":
        return ContentVerdict.passed()
    return ContentVerdict.withheld(found.reason or "")


async def _file(answer: "httpx.Response") -> Asset:
    with Spools() as spools:
        spool = spools.new()
        async for piece in answer.aiter_bytes():
            await spool.write(piece)
            if spool.size > _LARGEST_FILE:
                raise _none("answered with too large a file")
        found = await spool.asset()
        spools.keep([found])
    return typed(found)


def _none(words: str) -> Unavailable:
    return Unavailable(f"The content check {words}.", type="content_check_unavailable")
