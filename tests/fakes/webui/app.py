"""The routes of the fake Web UI."""

import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import JsonValue

from fakes.webui.generation import (
    SAMPLERS,
    UPSCALERS,
    Behaviour,
    Generator,
    OutOfMemoryError,
    checkpoint_file,
)
from fakes.webui.models import (
    ExtraBatchImages,
    ExtraSingleImage,
    Fault,
    ImageToImage,
    TaskProgress,
    TextToImage,
)

Json = dict[str, JsonValue]
REQUESTS_KEPT = 50


def create_app(behaviour: Behaviour) -> FastAPI:
    """The server, as ASGI application."""
    generator = Generator(behaviour)
    requests: deque[JsonValue] = deque(maxlen=REQUESTS_KEPT)
    app = FastAPI()
    for error in (HTTPException, OutOfMemoryError, RuntimeError):
        app.add_exception_handler(error, _show)
    if behaviour.api:
        guard = [Depends(_credentials(behaviour.auth))] if behaviour.auth else []
        routers = _generation(generator, requests), _questions(generator), _lists(generator)
        for router in routers:
            app.include_router(router, prefix="/sdapi/v1", dependencies=guard)
    if behaviour.internal_progress:
        app.include_router(_task_progress(generator))
    app.include_router(_control(generator, requests), prefix="/fake")
    return app


async def _show(_: Request, error: Exception) -> JSONResponse:
    """Every exception, in the API's own shape."""
    status, detail = 500, None
    if isinstance(error, HTTPException):
        status, detail = error.status_code, error.detail
    shape = {
        "error": type(error).__name__,
        "detail": detail or "",
        "body": "",
        "errors": "" if isinstance(error, HTTPException) else str(error),
    }
    return JSONResponse(shape, status)


def _credentials(known: dict[str, str]) -> Callable[..., Awaitable[None]]:
    async def check(given: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> None:
        expected = known.get(given.username)
        if expected is None or not secrets.compare_digest(expected, given.password):
            raise HTTPException(401, "Incorrect username or password")

    return check


def _generation(generator: Generator, requests: deque[JsonValue]) -> APIRouter:
    async def note(request: Request) -> None:
        requests.append(await request.json())

    router = APIRouter(dependencies=[Depends(note)])

    @router.post("/txt2img")
    async def txt2img(asked: TextToImage) -> Json:
        return await generator.generate(asked, "txt2img")

    @router.post("/img2img")
    async def img2img(asked: ImageToImage) -> Json:
        return await generator.generate(asked, "img2img")

    @router.post("/extra-single-image")
    async def extra_single_image(asked: ExtraSingleImage) -> Json:
        results = await generator.extras(asked, "extras", [asked.image])
        return {"html_info": "<p>upscaled</p>", "image": results[0]}

    @router.post("/extra-batch-images")
    async def extra_batch_images(asked: ExtraBatchImages) -> Json:
        sources = [file.data for file in asked.imageList]
        results: list[JsonValue] = [*await generator.extras(asked, "extras", sources)]
        return {"html_info": "<p>upscaled</p>", "images": results}

    return router


def _lists(generator: Generator) -> APIRouter:
    router = APIRouter()
    models = generator.models

    @router.get("/sd-models")
    async def sd_models() -> list[Json]:
        return [checkpoint.listing() for checkpoint in models.listed]

    @router.post("/refresh-checkpoints")
    async def refresh_checkpoints() -> None:
        models.refresh_checkpoints()

    @router.get("/loras")
    async def loras() -> list[Json]:
        return [
            {"name": path.stem, "alias": path.stem, "path": str(path), "metadata": {}}
            for path in models.loras
        ]

    @router.post("/refresh-loras")
    async def refresh_loras() -> None:
        models.refresh_loras()

    @router.get("/sd-vae")
    async def sd_vae() -> list[Json]:
        return [{"model_name": path.name, "filename": str(path)} for path in models.vaes]

    @router.post("/refresh-vae")
    async def refresh_vae() -> None:
        models.refresh_vaes()

    return router


def _questions(generator: Generator) -> APIRouter:
    router = APIRouter()
    engine, models = generator.engine, generator.models

    @router.get("/progress")
    async def progress() -> Json:
        shown: Json = {
            "progress": engine.progress(),
            "eta_relative": 0.0,
            "state": vars(engine.state).copy(),
            "current_image": None,
            "textinfo": None,
        }
        if generator.behaviour.names_current_task:
            shown["current_task"] = engine.current
        return shown

    @router.post("/interrupt")
    async def interrupt() -> Json:
        await engine.interrupt()
        return {}

    @router.get("/options")
    async def options() -> Json:
        return generator.options

    @router.post("/options")
    async def set_options(changes: Json) -> None:
        name = changes.get("sd_model_checkpoint")
        checkpoint = models.find(name)
        if name is not None and checkpoint is None:
            raise RuntimeError(f"model {name!r} not found")
        generator.options.update(changes)
        await generator.load(checkpoint)

    @router.get("/samplers")
    async def samplers() -> list[Json]:
        return [{"name": name, "aliases": [], "options": {}} for name in SAMPLERS]

    @router.get("/upscalers")
    async def upscalers() -> list[Json]:
        return [{"name": name, "scale": 4.0} for name in UPSCALERS]

    return router


def _task_progress(generator: Generator) -> APIRouter:
    router = APIRouter()
    engine = generator.engine

    @router.post("/internal/progress")
    async def task_progress(asked: TaskProgress) -> Json:
        active = asked.id_task is not None and asked.id_task == engine.current
        return {
            "active": active,
            "queued": asked.id_task in engine.pending,
            "completed": asked.id_task in engine.finished,
            "progress": engine.progress() if active else None,
            "eta": None,
            "live_preview": None,
            "id_live_preview": -1,
            "textinfo": None if active else "Waiting...",
        }

    return router


def _control(generator: Generator, requests: deque[JsonValue]) -> APIRouter:
    router = APIRouter()
    engine, models = generator.engine, generator.models

    @router.get("/state")
    async def state() -> Json:
        shown = engine.report()
        shown["checkpoint"] = models.loaded.name
        shown["options"] = generator.options
        return shown

    @router.get("/runs")
    async def runs() -> list[Json]:
        return engine.run_reports()

    @router.get("/requests")
    async def last_requests() -> list[JsonValue]:
        return list(requests)

    @router.post("/faults")
    async def add_fault(fault: Fault) -> None:
        engine.faults.append(fault)

    @router.delete("/faults")
    async def end_faults() -> None:
        engine.faults.clear()

    @router.post("/paused")
    async def pause(paused: Annotated[bool, Body()]) -> None:
        engine.paused = paused

    @router.post("/models")
    async def add_model(file: dict[str, str]) -> None:
        models.on_disk.append(checkpoint_file(file["name"]))

    return router
