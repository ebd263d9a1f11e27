"""The gateway put together: one application, its parts, and the server around it."""

import ipaddress
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn
from fastapi import FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from queue_agent.client import Client
from queue_agent.client.listener import Listener
from queue_agent.cloud import Cloud, shortcomings
from queue_agent.cloud.connect import connect
from queue_agent.cloud.watched import WatchedCloud
from queue_agent.gateway import events, jobs
from queue_agent.gateway.admission import Admission
from queue_agent.gateway.agents import LoadedModels
from queue_agent.gateway.bodies import LargeBodies
from queue_agent.gateway.browsers import Browsers
from queue_agent.gateway.compatibility import generate, openai, webui
from queue_agent.gateway.compatibility.synchronous import WARNINGS_HEADER
from queue_agent.gateway.connections import guarded
from queue_agent.gateway.dependencies import Gateway
from queue_agent.gateway.keys import KeyRing
from queue_agent.gateway.limits import RateLimit
from queue_agent.gateway.middleware import ID_HEADER, BodyLimit, EveryRequest
from queue_agent.gateway.offers import Offers
from queue_agent.gateway.pauses import KnownPauses
from queue_agent.gateway.problems import add_handlers, mend_media_type
from queue_agent.gateway.schemas import request_schemas
from queue_agent.gateway.service import JobService
from queue_agent.gateway.statistics import Statistics
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.tasks import background
from queue_agent.telemetry.clock import ClockWatch
from queue_agent.telemetry.probes import readiness
from queue_agent.telemetry.refusals import CloudRefusals
from queue_agent.wire.errors import SettingsError
from queue_agent.wire.layout import trial_key
from queue_agent.wire.web_origin import TrustedHosts

log = structlog.get_logger()

_STATIC: Final = Path(__file__).with_name("static")
_GRACE: Final = 10
"""Seconds that requests under way have after SIGTERM; clients of event streams come again."""
_KEEP_ALIVE: Final = 75
"""Seconds that an idle connection stays open: longer than load balancers (60) and clients keep
theirs, since one that is closed here first may be closed just as the next request is sent."""


def serve(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: others can reach the port, and no keys are asked for.
    """
    host = settings.host
    if settings.keys_file is None and not settings.open and not _is_loopback(host):
        raise SettingsError(
            f"Others can reach {host}: set QUEUE_AGENT_GATEWAY_KEYS_FILE (queue-agent gateway-key "
            "makes keys), or QUEUE_AGENT_GATEWAY_OPEN=true if anyone may use the gateway."
        )
    app = create_app(settings)
    log.info("gateway starts", host=host, port=settings.port, runtimes=list(settings.queues))
    uvicorn.Server(server_config(app, settings)).run()


def server_config(app: FastAPI, settings: GatewaySettings) -> uvicorn.Config:
    """How the application is served."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=guarded(limit=settings.connections, header_seconds=settings.header_seconds),
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=_GRACE,
        timeout_keep_alive=_KEEP_ALIVE,
        server_header=False,
    )


def create_app(settings: GatewaySettings) -> FastAPI:
    """The application; it connects to the cloud when it starts."""
    keys = KeyRing(settings.keys_file, rate=settings.rate, jobs_in_flight=settings.jobs_in_flight)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        refusals = CloudRefusals()
        unwatched = connect(
            settings.job_topic,
            settings.notification_topic,
            bucket=settings.bucket,
            region=settings.region,
        )
        told = unwatched.bucket(settings.bucket)  # by agents; the gateway works without it
        offers, loaded = Offers(told), LoadedModels(told, now=unwatched.now)
        pauses = KnownPauses(told, unwatched.now)
        cloud = WatchedCloud(unwatched, refusals)
        statistics = Statistics(cloud, settings.queues, offers, pauses, loaded, now=cloud.now)
        try:
            async with _parts(cloud, settings, keys, statistics) as (gateway, listener):
                app.state.gateway = gateway
                app.state.listener = listener
                app.state.refusals = refusals
                yield
        finally:
            await cloud.aclose()

    app = _DescribedApp(
        title="Queue agent gateway",
        description="Jobs in, live progress, images out.",
        lifespan=lifespan,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
    )
    add_handlers(app)
    own = (jobs.router, events.router)
    for router in (*own, *webui.ROUTERS, *openai.ROUTERS, generate.router):
        app.router.routes += router.routes  # as they are: inclusion would build each anew
    _add_page(app)
    _add_probes(app)
    app.state.large_bodies = LargeBodies()
    app.state.body_limit = settings.body_limit
    app.add_middleware(BodyLimit, limit=settings.body_limit, seconds=settings.body_seconds)
    app.add_middleware(Admission)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=[
                "Accept-Ranges",
                "Content-Range",
                "ETag",
                "Location",
                "Retry-After",
                "X-Job-Id",
                WARNINGS_HEADER,
                ID_HEADER,
            ],
        )
    app.add_middleware(Browsers, hosts=_trusted_hosts(settings), origins=settings.cors_origins)
    app.add_middleware(EveryRequest)
    return app


def _trusted_hosts(settings: GatewaySettings) -> TrustedHosts | None:
    """None where keys are asked for and nothing is said: a page knows no key."""
    if settings.keys_file is not None and not settings.trusted_hosts:
        return None
    return TrustedHosts(settings.trusted_hosts, addresses=not _is_loopback(settings.host))


class _DescribedApp(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The description, with the media type that problems really have."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        described = super().openapi()
        described["components"]["schemas"] |= request_schemas()
        for operations in described["paths"].values():
            for operation in operations.values():
                for answer in operation["responses"].values():
                    mend_media_type(answer)
        return described


@asynccontextmanager
async def _parts(
    cloud: Cloud, settings: GatewaySettings, keys: KeyRing, statistics: Statistics
) -> AsyncIterator[tuple[Gateway, Listener]]:
    offers, pauses = statistics.offers, statistics.pauses
    client = Client(cloud, notification_topic=settings.notification_topic)
    listener = Listener(client.notifications, hook=statistics.note)
    service = JobService(cloud, settings, listener, statistics, pauses)
    bucket = cloud.bucket(settings.bucket)
    key = trial_key(secrets.token_hex(8), folder="gateway")
    async with (
        listener.listening(),
        background(ClockWatch(cloud.now).watch()),
        background(shortcomings.warn(bucket, key, links=settings.link_seconds)),
    ):
        yield Gateway(settings, service, statistics, keys, RateLimit(), offers, bucket), listener


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", _PartsOfThePage(directory=_STATIC), name="static")


class _PartsOfThePage(StaticFiles):
    """Asked for anew each time, so that no browser puts parts of two versions together."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_probes(app: FastAPI) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        # anyone may ask, so the words of the cloud are for the log
        refused = {name: error.type for name, error in app.state.refusals.lasting().items()}
        state = {name: refused.get(name) for name in ("topic", "bucket")}
        status, body = readiness({"notifications": app.state.listener.missing, **state})
        return JSONResponse(body, status_code=status)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
