"""What adapters of HTTP servers share: bounded answers, foreign errors translated, images.

Every `aiohttp` exception ends here: callers see `queue_agent.wire.errors` only.
"""

import asyncio
import base64
import binascii
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import filetype
from pydantic import JsonValue
from pydantic_core import from_json, to_json
from yarl import URL

from queue_agent.runtime.bodies import Body
from queue_agent.runtime.contract import RuntimeOptions
from queue_agent.telemetry import carrier
from queue_agent.wire.errors import QueueAgentError, Rejected, Unavailable

ASK: Final = aiohttp.ClientTimeout(connect=5.0, sock_read=10.0)
"""For questions that a server answers at once."""
READY: Final = aiohttp.ClientTimeout(connect=2.0, sock_read=2.0)
"""For asking whether a server is there at all."""
WORK: Final = aiohttp.ClientTimeout(connect=5.0)
"""For calls that last as long as the GPU works: the caller's deadline ends them."""
UPLOAD: Final = aiohttp.ClientTimeout(total=300.0, connect=5.0, sock_read=60.0)
"""For what is large, or makes the server think; `sock_read` does not count while sending."""
ANSWER_LIMIT: Final = 512 * 1024 * 1024
"""Bytes of an answer; more is taken for a fault of the runtime."""

_KEEP_ALIVE: Final = 3.0
"""Seconds an idle connection is kept: less than by servers (uvicorn: 5), since a POST that crosses
the server's farewell is lost. One that the server closed before is not used."""
_FAULTS_OF_THE_JOB: Final = frozenset({400, 404, 405, 409, 413, 415, 422})
_WORDS_LIMIT: Final = 2000


@dataclass(frozen=True)
class Response:
    """A whole answer, whatever its status."""

    status: int
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> JsonValue:
        """The body as JSON; raises `Unavailable` (type ``invalid_answer``) if it is none."""
        try:
            value: JsonValue = from_json(self.body, allow_inf_nan=False)
        except ValueError as error:
            raise Unavailable(
                f"The runtime's answer is not JSON: {error}", type="invalid_answer"
            ) from error
        return value

    def json_object(self) -> dict[str, JsonValue]:
        """The body as a JSON object; raises like `json`."""
        value = self.json()
        if not isinstance(value, dict):
            raise Unavailable("The runtime's answer is not a JSON object.", type="invalid_answer")
        return value


class RuntimeClient:
    """Speaks to the runtime at `options.base_url`, with its credentials.

    The environment's proxies are for the world outside and are not used, nothing is
    compressed, and no redirect is followed: the runtime is next door. A trace that is under way
    goes on in it.
    """

    def __init__(self, options: RuntimeOptions, default_url: str) -> None:
        self._base = (options.base_url or default_url).rstrip("/")
        self.credentials = _credentials(options)
        """Headers that name us to the server; none where it asks for none."""
        self._session: aiohttp.ClientSession | None = None

    def url(self, path: str) -> URL:
        """The address of a path of the server's API."""
        return URL(self._base + path)

    async def send(
        self,
        method: str,
        path: str,
        *,
        json: JsonValue = None,
        data: aiohttp.FormData | Body | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout = ASK,  # noqa: ASYNC109  aiohttp's own, per phase
        limit: int = ANSWER_LIMIT,
    ) -> Response:
        """Send a request and read the whole answer, of any status.

        Raises:
            Unavailable: no connection, no answer in time, an answer cut short or over `limit`
                bytes.
        """
        if json is not None:
            data = Body([to_json(json)], "application/json")
        try:
            async with self._opened().request(
                method,
                self.url(path),
                params=params,
                data=data,
                headers={**carrier(), **(headers or {})},
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                return Response(response.status, await _read(response, limit))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unavailable_from(error) from error

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        """Made at the first request, since it belongs to the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={
                    "accept-encoding": "identity",
                    "user-agent": "queue-agent",
                    **self.credentials,
                },
            )
        return self._session


def _credentials(options: RuntimeOptions) -> dict[str, str]:
    if options.username is not None:
        pair = f"{options.username}:{options.password or ''}".encode()
        return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {"authorization": f"Bearer {options.api_key}"} if options.api_key else {}


def error_from(answer: Response) -> QueueAgentError:
    """What an answer that is no success means, where the API has no rules of its own."""
    words = words_of(answer)
    details: dict[str, JsonValue] = {"status": answer.status, "answer": words}
    if answer.status in {401, 403}:
        return Unavailable(
            f"The runtime refuses the agent's credentials: {words}",
            type="runtime_unauthorized",
            details=details,
        )
    if answer.status in _FAULTS_OF_THE_JOB:
        return Rejected(f"The runtime refused the job: {words}", details=details)
    return Unavailable(f"The runtime answered {answer.status}: {words}", details=details)


def _unavailable_from(error: aiohttp.ClientError | TimeoutError) -> Unavailable:
    """A failure of the connection in words."""
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ConnectionTimeoutError):
        return Unavailable(f"The runtime cannot be reached: {error}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Unavailable(f"The runtime cannot be reached: {error.os_error}")
    if isinstance(error, TimeoutError):
        return Unavailable("The runtime does not answer.")
    return Unavailable(f"The connection to the runtime broke: {str(error) or type(error).__name__}")


def words_of(answer: Response) -> str:
    """The server's own words: of the usual JSON shapes, else the text of the body."""
    try:
        value: JsonValue = from_json(answer.body)
    except ValueError:
        value = answer.body[:_WORDS_LIMIT].decode(errors="replace").strip()
    return (_words(value) or f"HTTP status {answer.status}")[:_WORDS_LIMIT]


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


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    if (response.content_length or 0) <= limit:
        # Unlike a bytearray, it gives its content away as bytes without copying it.
        body = io.BytesIO()
        async for chunk in response.content.iter_any():
            body.write(chunk)
            if body.tell() > limit:
                break
        else:
            return body.getvalue()
    raise Unavailable(f"The runtime's answer is over {limit} bytes.", type="answer_too_large")


async def decode_images(encoded: Iterable[JsonValue]) -> list[bytes]:
    """The bytes of base64 texts or data URLs in a runtime's answer.

    Raises:
        Unavailable: one of them is neither (type ``invalid_answer``).
    """
    images = []
    for number, text in enumerate(encoded, 1):
        if not isinstance(text, str):
            raise _not_an_image(number)
        try:
            images.append(base64.b64decode(_payload(text)))
        except (binascii.Error, ValueError) as error:
            raise _not_an_image(number) from error
        if not images[-1]:
            raise _not_an_image(number)
        await asyncio.sleep(0)  # decoding holds the interpreter's lock: let others in between
    return images


def _payload(text: str) -> str:
    return text.partition(",")[2] if text.startswith("data:") else text


def _not_an_image(number: int) -> Unavailable:
    return Unavailable(f"Image {number} of the answer is not base64.", type="invalid_answer")


def media_type_of(data: bytes) -> str:
    """The media type by content, e.g. ``image/png``; ``application/octet-stream`` if unknown."""
    return filetype.guess_mime(data) or "application/octet-stream"
