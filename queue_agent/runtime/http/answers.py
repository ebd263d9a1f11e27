"""Answers of a runtime's server, and what those mean that are no success."""

import io
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError
from pydantic import JsonValue
from yarl import URL

from queue_agent.media.asset import IN_MEMORY, Asset, Spool, Spools
from queue_agent.media.facts import typed
from queue_agent.runtime.failures import is_beyond_repair
from queue_agent.runtime.http.json_answers import JsonReader, parse_json
from queue_agent.wire.errors import (
    QueueAgentError,
    Rejected,
    RunLost,
    RuntimeAway,
    RuntimeSick,
    Unavailable,
)
from queue_agent.wire.retry_after import seconds_asked_for

FAULTS_OF_THE_JOB: Final = frozenset({400, 404, 405, 409, 413, 415, 422})
"""Statuses by which most servers say that the request is wrong, and not they."""
FAULTS_OF_THE_CONTENT: Final = FAULTS_OF_THE_JOB - {404, 405, 409}
"""Those of a server whose route is always there and always free: others answer in its place."""

WEB_PAGE: Final = "The runtime's address answers with a web page: of a proxy that wants a login?"

_WORDS_LIMIT: Final = 2000
_TARGET_LIMIT: Final = 200


@dataclass(frozen=True)
class Response:
    """A whole answer, whatever its status."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By names in any case."""

    @property
    def ok(self) -> bool:
        """Whether the status is one of success, from 200 to 299."""
        return 200 <= self.status < 300

    @property
    def retry_after(self) -> float:
        """Seconds before which asking again is in vain, by the server's word; 0 without one."""
        return seconds_asked_for(self.headers.get("retry-after", ""))

    def json(self) -> JsonValue:
        """The body as JSON.

        Raises:
            Unavailable: it is none (type ``invalid_answer``; ``web_page``, where it is HTML).
        """
        try:
            return parse_json(self.body)
        except ValueError as error:
            if self.is_page:
                raise Unavailable(WEB_PAGE, type="web_page") from error
            raise Unavailable(
                f"The runtime's answer is not JSON: {error}", type="invalid_answer"
            ) from error

    @property
    def is_page(self) -> bool:
        """Whether it is HTML, by its type and by its begin: some servers call any answer that."""
        declared = self.headers.get("content-type", "").startswith("text/html")
        return declared and self.body.lstrip().startswith(b"<")

    def json_object(self) -> dict[str, JsonValue]:
        """The body as a JSON object; raises like `json`."""
        return _object(self.json())


class StreamedResponse:
    """An answer whose head is here and whose body is read as it comes, within a limit."""

    def __init__(self, response: aiohttp.ClientResponse, limit: int) -> None:
        self._response = response
        self._limit = limit
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        """By names in any case."""

    @property
    def ok(self) -> bool:
        """Whether the status is one of success, from 200 to 299."""
        return 200 <= self.status < 300

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body's bytes, in pieces as they come; to be read once.

        Raises:
            Unavailable: the answer is cut short, or none comes in time; or it is over the limit,
                announced or not (type ``answer_too_large``).
        """
        if (self._response.content_length or 0) > self._limit:
            raise self._too_large()
        size = 0
        try:
            async for chunk in self._response.content.iter_any():
                size += len(chunk)
                if size > self._limit:
                    raise self._too_large()
                yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unavailable_from(error) from error

    async def read(self) -> Response:
        """The whole answer, in memory; raises like `chunks`."""
        # Unlike a bytearray, it gives its content away as bytes without copying it.
        body = io.BytesIO()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                body.write(chunk)
        return Response(self.status, body.getvalue(), self.headers)

    async def into(self, spool: Spool) -> Asset:
        """The whole answer, in memory or in the spool's file, of the type of its bytes.

        Raises like `chunks`, and like `Spool`.
        """
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                await spool.write(chunk)
        return typed(await spool.asset())

    async def json(self, spools: Spools) -> JsonValue:
        """The body as JSON, whose long base64 texts, in a large one, go into spools.

        They are then `SpooledText`, which `queue_agent.runtime.images.decode_images` takes.

        Raises:
            Unavailable: as by `chunks`; it is no JSON (type ``invalid_answer``).
        """
        reader, begin = None, io.BytesIO()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                if reader is not None:
                    await reader.feed(chunk)
                elif begin.write(chunk) and begin.tell() > IN_MEMORY:
                    reader = JsonReader(spools)
                    await reader.feed(begin.getvalue())
                    begin = io.BytesIO()
        if reader is not None:
            return await reader.value()
        return Response(self.status, begin.getvalue(), self.headers).json()

    async def json_object(self, spools: Spools) -> dict[str, JsonValue]:
        """The body as a JSON object; like `json`."""
        return _object(await self.json(spools))

    def _too_large(self) -> Unavailable:
        return Unavailable(
            f"The runtime's answer is over {self._limit} bytes.", type="answer_too_large"
        )


def _object(value: JsonValue) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise Unavailable("The runtime's answer is not a JSON object.", type="invalid_answer")
    return value


def error_from(
    answer: Response, *, faults_of_the_job: Collection[int] = FAULTS_OF_THE_JOB
) -> QueueAgentError:
    """What an answer that is no success means, where the API has no rules of its own.

    `Rejected` for the statuses of `faults_of_the_job`, for the others `Unavailable`; of type
    ``runtime_unauthorized`` for 401 and 403, ``runtime_redirects`` for a redirect, which is never
    followed, at which no job is at fault, and `RuntimeSick` where a server's failure (from 500) is
    one that only its restart ends. The message holds the
    server's own words, `details` the status and the words.
    """
    words = words_of(answer)
    details: dict[str, JsonValue] = {"status": answer.status, "answer": words}
    if answer.status in {401, 403}:
        return Unavailable(
            f"The runtime refuses the agent's credentials ({answer.status}): {words}",
            type="runtime_unauthorized",
            details=details,
        )
    if 300 <= answer.status < 400:
        return Unavailable(
            f"The runtime's address answers {answer.status} and leads to {_target(answer)}: "
            "does a proxy before it ask for a login?",
            type="runtime_redirects",
            details=details,
        )
    if answer.status in faults_of_the_job:
        return Rejected(f"The runtime refused the job: {words}", details=details)
    if answer.status >= 500 and is_beyond_repair(words):
        return RuntimeSick(f"The runtime is beyond repair: {words}", details=details)
    return Unavailable(
        f"The runtime answered {answer.status}: {words}",
        details=details,
        retry_after=answer.retry_after,
    )


def words_of(answer: Response) -> str:
    """The server's own words: of the usual JSON shapes, else the text of the body."""
    try:
        value = parse_json(answer.body)
    except ValueError:
        value = answer.body[:_WORDS_LIMIT].decode(errors="replace").strip()
    return (_words(value) or f"HTTP status {answer.status}")[:_WORDS_LIMIT]


def _target(answer: Response) -> str:
    """Where a redirect leads, without what may be secret."""
    try:
        url = URL(answer.headers.get("location", ""))
    except ValueError:
        return "nowhere"
    shown = str(url.with_user(None) if url.is_absolute() else url).partition("?")[0]
    return shown[:_TARGET_LIMIT] or "nowhere"


def unavailable_from(error: aiohttp.ClientError | TimeoutError) -> Unavailable:
    """A failure of the connection in words.

    `RuntimeAway` where there was none, so that nothing was sent; `RunLost` where it broke. A server
    whose answer cannot be read is there still: type ``invalid_answer``.
    """
    if isinstance(error, aiohttp.ClientResponseError) or isinstance(
        error.__cause__, ContentEncodingError
    ):
        return Unavailable(
            f"The runtime's answer is no HTTP that can be read: {error}", type="invalid_answer"
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", error.certificate_error)
        return RuntimeAway(
            f"The runtime's certificate is not trusted: {reason}", type="runtime_untrusted"
        )
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ConnectionTimeoutError):
        return RuntimeAway(f"The runtime cannot be reached: {error}")
    if isinstance(error, aiohttp.ClientConnectorError):
        unknown = isinstance(error, aiohttp.ClientConnectorDNSError)
        fault = f"'s host {error.host} is not found" if unknown else " cannot be reached"
        return RuntimeAway(f"The runtime{fault}: {error.os_error}")
    if isinstance(error, TimeoutError):
        return Unavailable("The runtime does not answer.")
    return RunLost(f"The connection to the runtime broke: {str(error) or type(error).__name__}")


def _words(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_words, value)))
    if isinstance(value, dict):
        if "msg" in value:  # one entry of FastAPI's validation errors
            where = value.get("loc")
            place = ".".join(map(str, where)) if isinstance(where, list) else ""
            return f"{place}: {value['msg']}" if place else str(value["msg"])
        parts = [_words(value.get(key)) for key in ("error", "message", "detail", "errors")]
        return ": ".join(dict.fromkeys(part for part in parts if part))
    return ""
