"""The routes of the fake Web UI."""

import base64
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import JsonValue

from fakes.webui.generation import Behaviour, Generator
from fakes.webui.models import (
    ExtraBatchImages,
    ExtraSingleImage,
    Fault,
    ForgeTextToImage,
    ImageToImage,
    TaskProgress,
    TextToImage,
)
from fakes.webui.recorded import answer_to, recorded_scripts

Json = dict[str, JsonValue]
REQUESTS_KEPT = 50
RECORDED_LISTS = (
    "samplers",
    "schedulers",
    "upscalers",
    "latent-upscale-modes",
    "hypernetworks",
    "face-restorers",
    "realesrgan-models",
    "scripts",
    "script-info",
    "extensions",
    "memory",
    "cmd-flags",
)
"""Answered as the real server did."""


class ValidationError(Exception):
    """As pydantic 1 names it."""


def create_app(behaviour: Behaviour) -> FastAPI:
    """The server, as ASGI application."""
    generator = Generator(behaviour)
    requests: deque[JsonValue] = deque(maxlen=REQUESTS_KEPT)
    app = FastAPI()
    app.middleware("http")(_show_exceptions)
    app.add_exception_handler(HTTPException, _show)
    if behaviour.api:
        guard = [Depends(_credentials(behaviour.auth))] if behaviour.auth else []
        app.add_api_route("/sdapi/v1/loras", _loras(generator), methods=["GET"])
        for router in (_generation(generator, requests), _questions(generator), _lists(generator)):
            app.include_router(router, prefix="/sdapi/v1", dependencies=guard)
    if behaviour.internal_progress:
        app.include_router(_task_progress(generator))
    app.include_router(_control(generator, requests), prefix="/fake")
    return app


async def _show_exceptions(
    request: Request, serve: Callable[[Request], Awaitable[Response]]
) -> Response:
    try:
        return await serve(request)
    except Exception as error:
        return await _show(request, error)


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
        with suppress(ValueError):
            requests.append(await request.json())

    router = APIRouter(dependencies=[Depends(note)])

    async def txt2img(asked: TextToImage) -> Json:
        return await generator.generate(asked, "txt2img")

    async def forges_txt2img(asked: ForgeTextToImage) -> Json:
        return await generator.generate(asked, "txt2img")

    served = forges_txt2img if generator.behaviour.forge else txt2img
    router.add_api_route("/txt2img", served, methods=["POST"])

    @router.post("/img2img")
    async def img2img(asked: ImageToImage) -> Json:
        return await generator.generate(asked, "img2img")

    @router.post("/extra-single-image")
    async def extra_single_image(asked: ExtraSingleImage) -> Json:
        results, words = await generator.extras(asked, [asked.image])
        return {"html_info": f"<p>{words}</p>", "image": results[0]}

    @router.post("/extra-batch-images")
    async def extra_batch_images(asked: ExtraBatchImages) -> Json:
        sources = [file.data for file in asked.imageList]
        results, words = await generator.extras(asked, sources)
        shown: list[JsonValue] = [*results]
        return {"html_info": f"<p>{words}</p>", "images": shown}

    return router


def _questions(generator: Generator) -> APIRouter:
    router = APIRouter()
    engine, models = generator.engine, generator.models

    @router.get("/progress")
    async def progress(skip_current_image: bool = False) -> Json:
        if engine.state.job_count:
            engine.draw()
        image = engine.preview if engine.state.job_count and not skip_current_image else None
        shown: Json = {
            "progress": engine.progress(),
            "eta_relative": 0.0,
            "state": vars(engine.state).copy(),
            "current_image": None if image is None else base64.b64encode(image).decode(),
            "textinfo": engine.textinfo,
        }
        return shown

    @router.post("/interrupt")
    async def interrupt() -> Json:
        await engine.interrupt()
        return {}

    @router.post("/skip")
    async def skip() -> None:
        engine.state.skipped = True

    @router.get("/options")
    async def options() -> Json:
        try:
            return generator.options.shown()
        except ValueError as error:
            raise ValidationError(
                f"1 validation error for Options\nresponse -> {error}\n"
                "  value is not a valid float (type=type_error.float)"
            ) from error

    @router.post("/options")
    async def set_options(changes: Json) -> None:
        name = changes.get("sd_model_checkpoint")
        checkpoint = models.find(name)
        if name is not None and checkpoint is None:
            raise RuntimeError(f"model {name!r} not found")
        for key, value in changes.items():
            generator.options.set(key, value)
        if checkpoint is not None:
            generator.options.set("sd_model_checkpoint", checkpoint.title)
        await generator.load(checkpoint)

    return router


def _lists(generator: Generator) -> APIRouter:
    router = APIRouter()
    models = generator.models

    @router.get("/sd-models")
    async def sd_models() -> list[Json]:
        return [checkpoint.listing() for checkpoint in models.listed]

    @router.get("/sd-modules" if generator.behaviour.forge else "/sd-vae")
    async def sd_vae() -> list[Json]:
        return models.vaes

    @router.get("/prompt-styles")
    async def prompt_styles() -> list[Json]:
        return models.disk.styles

    @router.get("/embeddings")
    async def embeddings() -> Json:
        return {"loaded": {}, "skipped": {}} | models.disk.embeddings

    @router.post("/refresh-{what}")
    async def refresh(what: str) -> None:
        models.refresh(what)

    for name in RECORDED_LISTS:
        router.add_api_route(f"/{name}", _recorded(name), methods=["GET"])
    return router


def _loras(generator: Generator) -> Callable[[], Awaitable[JsonValue]]:
    """The route of an extension, which no credentials guard."""

    async def loras() -> JsonValue:
        return [*generator.models.loras]

    return loras


def _recorded(name: str) -> Callable[[], Awaitable[JsonValue]]:
    async def shown() -> JsonValue:
        found: JsonValue = recorded_scripts() if name == "script-info" else answer_to("lists", name)
        return found

    return shown


def _task_progress(generator: Generator) -> APIRouter:
    router = APIRouter()
    engine = generator.engine

    @router.post("/internal/progress")
    async def task_progress(asked: TaskProgress) -> Json:
        active = asked.id_task == engine.current and generator.behaviour.knows_tasks
        queued = asked.id_task in engine.pending
        words = "Waiting..."
        if queued:
            place = engine.pending.index(asked.id_task) + 1
            words = f"In queue: {place}/{len(engine.pending)}"
        image, number = None, asked.id_live_preview if active else -1
        if active and asked.live_preview:
            engine.draw()
            if engine.id_live_preview != asked.id_live_preview and engine.preview is not None:
                image, number = engine.preview, engine.id_live_preview
        return {
            "active": active,
            "queued": queued,
            "completed": asked.id_task in engine.finished,
            "progress": engine.fraction(0.0) if active else None,
            "eta": None,
            "live_preview": None
            if image is None
            else f"data:image/png;base64,{base64.b64encode(image).decode()}",
            "id_live_preview": number,
            "textinfo": None if active else words,
        }

    @router.get("/internal/pending-tasks")
    async def pending_tasks() -> Json:
        tasks: list[JsonValue] = [*engine.pending]
        return {"size": len(tasks), "tasks": tasks}

    @router.get("/internal/ping")
    async def ping() -> Json:
        return {}

    return router


def _control(generator: Generator, requests: deque[JsonValue]) -> APIRouter:
    router = APIRouter()
    engine, models = generator.engine, generator.models

    @router.get("/state")
    async def state() -> Json:
        shown = engine.report()
        shown["checkpoint"] = models.loaded.name
        shown["options"] = dict(generator.options.data)
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
    async def pause(paused: Annotated[bool | str, Body()], after: int = 0) -> None:
        engine.paused, engine.paused_after = paused, after

    @router.post("/models")
    async def add_model(file: dict[str, str]) -> None:
        models.disk.put(file.get("kind", "checkpoint"), file["name"])

    @router.post("/filled")
    async def fill() -> None:
        models.disk.fill()

    return router
