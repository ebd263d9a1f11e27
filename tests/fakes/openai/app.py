"""The application: the routes of one engine, and those of the tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, FastAPI

from fakes.openai import dynamo, sglang, tensorrt_llm, vllm_omni
from fakes.openai.engine import Behaviour, Engine
from fakes.openai.requests import Requests

ENGINES: Final[dict[str, Callable[[Engine, Requests], APIRouter]]] = {
    "dynamo": dynamo.router,
    "sglang": sglang.router,
    "tensorrt-llm": tensorrt_llm.router,
    "vllm-omni": vllm_omni.router,
}
OWNERS: Final = {
    "dynamo": "nvidia",
    "sglang": "sglang",
    "tensorrt-llm": "tensorrt_llm",
    "vllm-omni": "vllm",
}
MODEL: Final = "tiny-video"


def create_app(name: str, behaviour: Behaviour) -> FastAPI:
    """The server, as ASGI application."""
    engine, requests = Engine(behaviour), Requests()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        serving = asyncio.create_task(engine.serve())
        yield
        serving.cancel()

    app = FastAPI(lifespan=lifespan)
    app.include_router(ENGINES[name](engine, requests))

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        card = {"id": MODEL, "object": "model", "created": 1, "owned_by": OWNERS[name]}
        return {"object": "list", "data": [card]}

    @app.get("/fake/held")
    async def held() -> int:
        return engine.held

    @app.post("/fake/end")
    async def end() -> None:
        engine.end_all()

    @app.post("/fake/paused")
    async def pause(after: int | None = None) -> None:
        engine.pause(after)

    @app.get("/fake/requests")
    async def seen() -> list[dict[str, Any]]:
        return requests.seen

    return app
