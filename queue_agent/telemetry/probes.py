"""Health endpoints for the pod's probes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from pydantic import JsonValue

from queue_agent.telemetry.export import Exposition
from queue_agent.telemetry.logs import without_url_secrets
from queue_agent.wire.errors import SettingsError

State = Callable[[], Awaitable[Mapping[str, str | None]]]
"""What the process needs to work, by name: None where it is there, else why not, in words."""

Page = Callable[[], tuple[int, Mapping[str, JsonValue]]]
"""The status and body of an answer."""

Restart = Callable[[], Awaitable[tuple[bool, Mapping[str, str]]]]
"""Whether the runtime beside the process should be started anew, and what is known of it."""


def readiness(state: Mapping[str, str | None]) -> tuple[int, dict[str, JsonValue]]:
    """The status and body that tell the state: 200 when nothing is missing, else 503.

    The body has true or false by name, and under ``reasons`` why for each that is false.
    """
    body: dict[str, JsonValue] = {name: reason is None for name, reason in state.items()}
    reasons: dict[str, JsonValue] = {
        name: without_url_secrets(why) for name, why in state.items() if why is not None
    }
    if not reasons:
        return 200, body
    return 503, {**body, "reasons": reasons}


@asynccontextmanager
async def probes(
    state: State,
    *,
    host: str,
    port: int,
    restart: Restart | None = None,
    exposition: Exposition | None = None,
    notes: Callable[[], Mapping[str, JsonValue]] = dict,
    pages: Mapping[str, Page] | None = None,
    setting: str = "QUEUE_AGENT_HEALTH_PORT",
) -> AsyncIterator[None]:
    """Serve ``/healthz`` and ``/readyz`` while the block runs; port 0 serves nothing.

    ``/healthz`` answers 200 while the event loop turns. ``/readyz`` answers as `readiness` says,
    with the `notes` beside, which make nothing missing.
    ``/runtimez``, for the liveness probe of the runtime's container, answers 503 when `restart`
    says that it should be started anew, else 200.
    ``/metrics`` shows the `exposition`, where there is one, and each of the `pages` is there by
    its path.

    Raises:
        SettingsError: the port cannot be listened on; `setting` is what says it.
    """
    if not port:
        yield
        return

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        status, body = readiness(await state())
        return web.json_response({**body, **notes()}, status=status)

    async def runtimez(_request: web.Request) -> web.Response:
        assert restart is not None  # noqa: S101  the route is only there with one
        wanted, known = await restart()
        body = {name: without_url_secrets(text) for name, text in known.items()}
        return web.json_response(body, status=503 if wanted else 200)

    async def metrics(request: web.Request) -> web.Response:
        assert exposition is not None  # noqa: S101  the route is only there with one
        page, content_type = exposition(request.headers.get("Accept", ""))
        return web.Response(body=page, headers={"Content-Type": content_type})

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    if restart is not None:
        application.add_routes([web.get("/runtimez", runtimez)])
    if exposition is not None:
        application.add_routes([web.get("/metrics", metrics)])
    for path, page in (pages or {}).items():
        application.add_routes([web.get(path, _answering(page))])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SettingsError(
                f"{setting}: cannot listen on {host}:{port}: {error.strerror}"
            ) from error
        yield
    finally:
        await runner.cleanup()


def _answering(page: Page) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        status, body = page()
        return web.json_response(dict(body), status=status)

    return answer
