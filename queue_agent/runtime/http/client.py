"""The client of a runtime's server. Every `aiohttp` exception ends in this package."""

import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from multidict import CIMultiDict
from pydantic import JsonValue
from pydantic_core import to_json
from yarl import URL

from queue_agent.runtime.contract import RuntimeOptions
from queue_agent.runtime.http.answers import Response, StreamedResponse, unavailable_from
from queue_agent.runtime.http.bodies import Body, Form
from queue_agent.telemetry.tracing import carrier

Timeout = aiohttp.ClientTimeout
"""Seconds, per phase: `connect`; `sock_read`, without a byte of the answer; `total`."""

ASK: Final = Timeout(connect=5.0, sock_read=10.0)
"""For questions that a server answers at once."""
READY: Final = Timeout(connect=2.0, sock_read=2.0)
"""For asking whether a server is there at all."""
WORK: Final = Timeout(connect=5.0)
"""For calls that last as long as the GPU works: the caller's deadline ends them."""
UPLOAD: Final = Timeout(total=300.0, connect=5.0, sock_read=60.0)
"""For what is large, or makes the server think; `sock_read` does not count while sending."""
DOWNLOAD: Final = Timeout(connect=5.0, sock_read=60.0)
"""For large answers: they may take as long as they like, as long as something comes."""
ANSWER_LIMIT: Final = 512 * 1024 * 1024
"""Bytes of an answer; more is taken for a fault of the runtime."""

_KEEP_ALIVE: Final = 3.0
"""Seconds an idle connection is kept: less than by servers (uvicorn: 5), since a POST that crosses
the server's farewell is lost. One that the server closed before is not used."""


_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class RuntimeClient:
    """Speaks to the runtime at `options.base_url`, with its credentials and extra headers.

    Made without a running loop and connected by the first request, as an adapter is; afterwards
    it belongs to that loop. Any number of requests may be under way.

    The environment's proxies are for the world outside and are not used, nothing is
    compressed, no cookie is kept and no redirect is followed: the runtime is next door. A trace
    that is under way goes on in it.
    """

    def __init__(self, options: RuntimeOptions, default_url: str) -> None:
        self._base = (options.base_url or default_url).rstrip("/")
        self.headers: Mapping[str, str] = _headers_of(options)
        """What each request carries by the operator's word: credentials and extra headers.

        To be sent by whoever connects otherwise, with a WebSocket say.
        """
        self.tls = ssl.create_default_context(cafile=options.ca_file) if options.ca_file else None
        """Whom to trust where the address is ``https``; None: the system's authorities."""
        self._session: aiohttp.ClientSession | None = None

    def url(self, path: str) -> URL:
        """The address of a path of the server's API, which begins with a slash."""
        return URL(self._base + path)

    async def send(
        self,
        method: str,
        path: str,
        *,
        json: JsonValue = None,
        body: Form | Body | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Timeout = ASK,  # noqa: ASYNC109  aiohttp's own, per phase
        limit: int = ANSWER_LIMIT,
    ) -> Response:
        """Send a request and read the whole answer, of any status, into memory.

        Sent are the value of `json` or the `body`. What may change something, a PUT say, is never
        sent twice.

        Raises:
            Unavailable: no connection, no answer in time, an answer cut short or over `limit`
                bytes (type ``answer_too_large``).
        """
        async with self.stream(
            method,
            path,
            json=json,
            body=body,
            params=params,
            headers=headers,
            timeout=timeout,
            limit=limit,
        ) as answer:
            return await answer.read()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        json: JsonValue = None,
        body: Form | Body | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Timeout = ASK,  # noqa: ASYNC109  aiohttp's own, per phase
        limit: int = ANSWER_LIMIT,
    ) -> AsyncIterator[StreamedResponse]:
        """Send a request and read its answer, of any status, within the block; like `send`.

            async with client.stream("GET", "/result") as answer:
                if not answer.ok:
                    raise error_from(await answer.read())
                async for chunk in answer.chunks():
                    file.write(chunk)

        What has not been read at the block's end is not read any more, and the connection is
        closed.
        """
        if json is not None:
            body = Body([to_json(json)], "application/json")
        try:
            response = await self._opened().request(
                method,
                self.url(path),
                params=params,
                data=body,
                headers={**carrier(), **(headers or {})},
                timeout=timeout,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unavailable_from(error) from error
        async with response:
            yield StreamedResponse(response, limit)

    async def aclose(self) -> None:
        """Close all connections; what is under way becomes `Unavailable`."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        """Made at the first request, since it belongs to the running loop."""
        if self._session is None:
            headers = CIMultiDict({"accept-encoding": "identity", "user-agent": "queue-agent"})
            headers.update(self.headers)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=_KEEP_ALIVE, ssl=self.tls or True
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
                middlewares=(_once,),
            )
        return self._session


async def _once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a PUT or DELETE whose connection broke: it may be under way."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method in _SAFE:
            raise
        raise aiohttp.ClientConnectionError(str(error) or type(error).__name__) from error


def _headers_of(options: RuntimeOptions) -> Mapping[str, str]:
    headers = CIMultiDict(_credentials(options))
    headers.update(options.headers)
    return headers


def _credentials(options: RuntimeOptions) -> dict[str, str]:
    if options.username is not None:
        pair = f"{options.username}:{options.password or ''}".encode()
        return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {"authorization": f"Bearer {options.api_key}"} if options.api_key else {}
