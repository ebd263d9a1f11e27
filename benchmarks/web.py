"""The HTTP server under the benchmark's servers: no routing, no limits, one handler."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import JsonValue

from queue_agent.testing.process import HOST

Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]

_KEPT_ALIVE = 600.0


async def serve(handler: Handler, port: int) -> None:
    """Answer requests on the loopback interface until SIGTERM or SIGINT."""
    # a client that leaves ends its long poll, as at the real services
    server = web.Server(
        handler, handler_cancellation=True, access_log=None, keepalive_timeout=_KEPT_ALIVE
    )
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listener = await loop.create_server(server, HOST, port, backlog=256)
    try:
        await stop.wait()
    finally:
        listener.close()
        await server.shutdown(0.1)


async def body_of(request: web.BaseRequest) -> bytes:
    """The whole body, however large."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return await request.content.read()


def as_json(value: JsonValue, *, status: int = 200) -> web.Response:
    """An answer in JSON."""
    return web.Response(
        body=json.dumps(value).encode(), status=status, content_type="application/json"
    )
