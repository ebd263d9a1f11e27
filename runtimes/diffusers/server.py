"""The HTTP side of the bundled runtime: the OpenAI Images dialect, plus jobs.

    POST   /v1/images/generations   text to image
    POST   /v1/images/edits         image to image, inpainting (multipart)
    GET    /v1/models
    GET    /v1/jobs                 what runs or waits
    GET    /v1/jobs/{id}            how far a request is, by its X-Request-Id
    DELETE /v1/jobs/{id}            stop it between two steps
    GET    /health                  503 until the model is loaded

The port listens while the model loads. torch is loaded in the engine's thread.
"""

import asyncio
import dataclasses
import secrets
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NoReturn

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from PIL import Image
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from runtimes.diffusers.api import EditRequest, GenerationRequest, JobStatus
from runtimes.diffusers.engine import Engine, ImageRequest, Job, Model
from runtimes.diffusers.errors import (
    InvalidRequest,
    ModelError,
    NotReady,
    ServerError,
    UnknownModel,
)
from runtimes.diffusers.images import (
    decode_image,
    encode_answer,
    fit_image,
    fit_mask,
    natural_size,
)
from runtimes.diffusers.middleware import BodyLimit, RequestIds, request_id

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of a request."""


def serve(
    model: str, *, host: str, port: int, device: str | None = None, dtype: str | None = None
) -> None:
    """Serve a model until SIGTERM or SIGINT, which let running requests finish.

    Raises:
        SystemExit: with code 1, after one line on stderr, when the model cannot be loaded.
    """

    def load() -> Model:
        from runtimes.diffusers.loader import load_model  # noqa: PLC0415  loads torch, slowly

        return load_model(model, device=device, dtype=dtype)

    engine = Engine(load)
    app = create_app(engine, model=model)
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, access_log=False))

    def stop() -> None:
        server.should_exit = True

    engine.start(on_failure=stop)
    server.run()
    if engine.failure is not None:
        _give_up(engine.failure)


def create_app(engine: Engine, *, model: str) -> FastAPI:
    """The application around an engine that the caller has started; closes it at its end."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(engine.close)

    app = FastAPI(title="Bundled diffusers runtime", lifespan=lifespan)
    app.add_middleware(BodyLimit, limit=MAX_BODY)
    app.add_middleware(RequestIds)
    app.add_exception_handler(ServerError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_error)
    _add_image_routes(app, engine, model)
    _add_job_routes(app, engine)
    _add_state_routes(app, engine, model)
    return app


def _add_image_routes(app: FastAPI, engine: Engine, model: str) -> None:
    @app.post("/v1/images/generations")
    async def generate(body: GenerationRequest, request: Request) -> Response:
        _check_model(body, model)
        return await _answer_images(engine, request, body, _image_request(body))

    @app.post("/v1/images/edits")
    async def edit(request: Request) -> Response:
        if not engine.ready:
            raise NotReady("The model is still loading.")
        async with request.form(max_files=4, max_fields=64) as form:
            body = _parse_fields(form)
            _check_model(body, model)
            image, mask = await _read_file(form, "image"), await _read_file(form, "mask")
        if image is None:
            raise InvalidRequest("An image is required.", param="image")
        wanted = await asyncio.to_thread(_edit_request, body, image, mask)
        return await _answer_images(engine, request, body, wanted)


def _add_job_routes(app: FastAPI, engine: Engine) -> None:
    @app.get("/v1/jobs")
    async def active_jobs() -> dict[str, list[JobStatus]]:
        return {"data": [_status(job) for job in engine.active_jobs()]}

    @app.get("/v1/jobs/{job_id}")
    async def job_status(job_id: str) -> JobStatus:
        return _status(engine.find(job_id))

    @app.delete("/v1/jobs/{job_id}", status_code=202)
    async def cancel_job(job_id: str) -> JobStatus:
        return _status(engine.cancel(job_id))


def _add_state_routes(app: FastAPI, engine: Engine, model: str) -> None:
    started = int(time.time())

    @app.get("/health")
    async def health() -> dict[str, str]:
        if not engine.ready:
            raise NotReady("The model is still loading.")
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, object]:
        entry = {
            "id": _model_names(model)[0],
            "object": "model",
            "created": started,
            "owned_by": "local",
        }
        return {"object": "list", "data": [entry]}


async def _answer_images(
    engine: Engine, request: Request, body: GenerationRequest, wanted: ImageRequest
) -> Response:
    job = engine.submit(request_id(request), wanted)
    watcher = asyncio.create_task(_cancel_when_gone(request, job))
    try:
        pictures = await asyncio.wrap_future(job.result)
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
    answer = await asyncio.to_thread(
        encode_answer,
        pictures.images,
        wanted.seeds,
        output_format=body.output_format,
        warnings=[*body.warnings, *pictures.warnings],
    )
    return Response(answer, media_type="application/json")


async def _cancel_when_gone(request: Request, job: Job) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.cancel()


def _image_request(body: GenerationRequest) -> ImageRequest:
    width, height = body.dimensions or (None, None)
    return ImageRequest(
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        seed=secrets.randbits(32) if body.seed is None else body.seed,
        count=body.n,
        width=width,
        height=height,
        steps=body.num_inference_steps,
        guidance_scale=body.guidance_scale,
        true_cfg_scale=body.true_cfg_scale,
        scheduler=body.scheduler,
    )


def _edit_request(body: EditRequest, image: bytes, mask: bytes | None) -> ImageRequest:
    picture = decode_image(image, field="image")
    width, height = body.dimensions or natural_size(picture)
    return dataclasses.replace(
        _image_request(body),
        width=width,
        height=height,
        image=fit_image(picture, (width, height)),
        mask=None if mask is None else _fit_mask(mask, (width, height)),
        strength=body.strength,
    )


def _fit_mask(mask: bytes, size: tuple[int, int]) -> Image.Image:
    return fit_mask(decode_image(mask, field="mask"), size)


def _parse_fields(form: FormData) -> EditRequest:
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    try:
        return EditRequest.model_validate(fields)
    except ValidationError as error:
        raise _invalid(error.errors()) from error


async def _read_file(form: FormData, name: str) -> bytes | None:
    """The one file of that name; ``image[]`` is how some clients spell a list."""
    files = [*form.getlist(name), *form.getlist(f"{name}[]")]
    if not files:
        return None
    if len(files) > 1:
        raise InvalidRequest(f"Only one {name} can be worked on.", param=name)
    if not isinstance(files[0], UploadFile):
        raise InvalidRequest(f"{name} must be sent as a file.", param=name)
    return await files[0].read()


def _check_model(body: GenerationRequest, model: str) -> None:
    if body.model and body.model not in _model_names(model):
        raise UnknownModel(
            f"The model served here is {_model_names(model)[0]!r}, not {body.model!r}.",
            param="model",
        )


def _model_names(model: str) -> tuple[str, ...]:
    """What clients may call the model; the first is what it is listed as."""
    path = Path(model).expanduser()
    if not path.exists():
        return (model,)
    return (path.resolve().stem, path.resolve().name, model)


def _status(job: Job) -> JobStatus:
    return JobStatus(
        id=job.id, status=job.state, step=job.step, steps=job.steps, progress=job.progress
    )


async def _answer_error(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, RequestValidationError):
        error = _invalid(error.errors())
    if isinstance(error, ServerError):
        return JSONResponse(error.body, error.status, headers=error.headers)
    if isinstance(error, HTTPException):
        body = {"message": error.detail, "type": "invalid_request_error", "code": "http_error"}
        return JSONResponse(
            {"error": {**body, "param": None}}, error.status_code, headers=error.headers
        )
    raise error


def _invalid(faults: Sequence[ErrorDetails]) -> InvalidRequest:
    """One error for all faulty fields; `param` names the first."""
    places = [
        ".".join(part for part in fault["loc"] if isinstance(part, str) and part != "body")
        for fault in faults
    ]
    words = [
        f"{place or 'body'}: {fault['msg']}" for place, fault in zip(places, faults, strict=True)
    ]
    return InvalidRequest("; ".join(words), param=places[0] or None)


def _give_up(failure: Exception) -> NoReturn:
    if not isinstance(failure, ModelError):
        raise failure
    sys.stderr.write(f"The model cannot be served. {failure}\n")
    raise SystemExit(1)
