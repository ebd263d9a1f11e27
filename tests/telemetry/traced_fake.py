"""A fake runtime with spans of its own: ``python tests/telemetry/traced_fake.py webui 7860``."""

import asyncio
import sys
from dataclasses import dataclass

import uvicorn
from opentelemetry.trace import SpanKind, Tracer
from starlette.types import ASGIApp, Receive, Scope, Send

from fakes.comfyui.app import FakeComfyUI, Options
from fakes.webui.app import create_app
from fakes.webui.generation import Behaviour
from queue_agent.settings.tracing import TracingSettings
from queue_agent.telemetry import continued
from queue_agent.telemetry.export import exporting
from queue_agent.testing.process import HOST


@dataclass(frozen=True)
class Traced:
    """Continues the trace of each request that belongs to one."""

    app: ASGIApp
    tracer: Tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope.get("headers", ())}
        if scope["type"] != "http" or "traceparent" not in headers:
            await self.app(scope, receive, send)
            return
        name = f"{scope['method']} {scope['path']}"
        with self.tracer.start_as_current_span(name, continued(headers), SpanKind.SERVER):
            await self.app(scope, receive, send)


async def serve(kind: str, port: int) -> None:
    app: ASGIApp
    if kind == "webui":
        app = create_app(Behaviour(step_seconds=0.02))
    else:
        app = FakeComfyUI(Options(step_seconds=0.02)).app()
    options = TracingSettings.load().tracing_options("runtime")
    async with exporting(options) as exports:
        traced = Traced(app, exports.telemetry.tracer)
        config = uvicorn.Config(
            traced,
            host=HOST,
            port=port,
            log_level="warning",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=75,
        )
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
