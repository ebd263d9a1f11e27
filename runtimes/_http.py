"""What adapters of HTTP servers share: bounded answers, foreign errors translated, images.

Every `httpx` exception ends here: callers see `queue_agent.errors` only.
"""

import asyncio
import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import filetype
import httpx
from pydantic import JsonValue
from pydantic_core import from_json

from queue_agent.errors import QueueAgentError, Rejected, Unavailable
from queue_agent.runtime import RuntimeOptions
from queue_agent.telemetry import carrier

ASK: Final = httpx.Timeout(10.0, connect=5.0)
"""For questions that a server answers at once."""
READY: Final = httpx.Timeout(2.0)
"""For asking whether a server is there at all."""
WORK: Final = httpx.Timeout(None, connect=5.0)
"""For calls that last as long as the GPU works: the caller's deadline ends them."""
ANSWER_LIMIT: Final = 512 * 1024 * 1024
"""Bytes of an answer; more is taken for a fault of the runtime."""

_FAULTS_OF_THE_JOB: Final = frozenset({400, 404, 405, 409, 413, 415, 422})
_WORDS_LIMIT: Final = 2000


@dataclass(frozen=True)
class Answer:
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


def new_client(options: RuntimeOptions, default_url: str) -> httpx.AsyncClient:
    """A client for the runtime at `options.base_url`, with its credentials.

    The environment's proxies are for the world outside and are not used, and nothing is
    compressed: the runtime is next door. A trace that is under way goes on in it.
    """
    headers = {"accept-encoding": "identity"}
    if options.api_key:
        headers["authorization"] = f"Bearer {options.api_key}"
    auth = None
    if options.username is not None:
        auth = httpx.BasicAuth(options.username, options.password or "")
    return httpx.AsyncClient(
        base_url=options.base_url or default_url,
        auth=auth,
        headers=headers,
        timeout=ASK,
        trust_env=False,
        event_hooks={"request": [_continue_trace]},
    )


async def _continue_trace(request: httpx.Request) -> None:
    request.headers.update(carrier())


async def send(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    *,
    json: JsonValue = None,
    params: Mapping[str, str] | None = None,
    data: Mapping[str, str | list[str]] | None = None,
    files: Mapping[str, tuple[str, bytes, str]] | None = None,
    timeout: httpx.Timeout = ASK,  # noqa: ASYNC109  httpx's own, per phase
    limit: int = ANSWER_LIMIT,
) -> Answer:
    """Send a request and read the whole answer, of any status.

    Raises:
        Unavailable: no connection, no answer in time, an answer cut short or over `limit` bytes.
    """
    request = client.build_request(
        method, path, json=json, params=params, data=data, files=files, timeout=timeout
    )
    return await exchange(client, request, limit=limit)


async def exchange(
    client: httpx.AsyncClient, request: httpx.Request, *, limit: int = ANSWER_LIMIT
) -> Answer:
    """Send a request that was built before; otherwise as `send`."""
    try:
        response = await client.send(request, stream=True)
        try:
            return Answer(response.status_code, await _read(response, limit))
        finally:
            await response.aclose()
    except httpx.HTTPError as error:
        raise unavailable_from(error) from error


async def request_json(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    *,
    json: JsonValue = None,
    params: Mapping[str, str] | None = None,
    timeout: httpx.Timeout = ASK,  # noqa: ASYNC109  httpx's own, per phase
    limit: int = ANSWER_LIMIT,
) -> JsonValue:
    """The JSON of a successful answer.

    Raises:
        Rejected: the status says that the request is at fault.
        Unavailable: any other failure.
    """
    answer = await send(
        client, method, path, json=json, params=params, timeout=timeout, limit=limit
    )
    if not answer.ok:
        raise error_from(answer)
    return answer.json()


def error_from(answer: Answer) -> QueueAgentError:
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


def unavailable_from(error: httpx.HTTPError) -> Unavailable:
    """A failure of the connection in words."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Unavailable(f"The runtime cannot be reached: {str(error) or 'no answer'}")
    if isinstance(error, httpx.TimeoutException):
        return Unavailable("The runtime does not answer.")
    return Unavailable(f"The connection to the runtime broke: {str(error) or type(error).__name__}")


def words_of(answer: Answer) -> str:
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


async def _read(response: httpx.Response, limit: int) -> bytes:
    announced = response.headers.get("content-length", "")
    body = bytearray()
    if not (announced.isdigit() and int(announced) > limit):
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > limit:
                break
        else:
            return bytes(body)
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
