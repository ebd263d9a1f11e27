"""Health endpoints for the pod's probes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from queue_agent.telemetry.export import Exposition
from queue_agent.wire.errors import SettingsError

State = Callable[[], Awaitable[Mapping[str, bool]]]
"""What the process needs to work, by name, and whether it is there."""


@asynccontextmanager
async def probes(
    state: State, *, host: str, port: int, exposition: Exposition | None = None
) -> AsyncIterator[None]:
    """Serve ``/healthz`` and ``/readyz`` while the block runs; port 0 serves nothing.

    ``/healthz`` answers 200 while the event loop turns. ``/readyz`` answers 200 when everything
    that the `state` names is ready, else 503; its JSON says what is missing.
    ``/metrics`` shows the `exposition`, where there is one.

    Raises:
        SettingsError: the port cannot be listened on.
    """
    if not port:
        yield
        return

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        ready = await state()
        return web.json_response(dict(ready), status=200 if all(ready.values()) else 503)

    async def metrics(request: web.Request) -> web.Response:
        assert exposition is not None  # noqa: S101  the route is only there with one
        page, content_type = exposition(request.headers.get("Accept", ""))
        return web.Response(body=page, headers={"Content-Type": content_type})

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    if exposition is not None:
        application.add_routes([web.get("/metrics", metrics)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SettingsError(
                f"QUEUE_AGENT_HEALTH_PORT: cannot listen on {host}:{port}: {error.strerror}"
            ) from error
        yield
    finally:
        await runner.cleanup()
