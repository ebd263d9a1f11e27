"""The HTTP side of the bundled runtime: OpenAI's dialects, and what goes beyond them.

POST   /v1/images/generations   text to image
POST   /v1/images/edits         image to image, inpainting (multipart)
POST   /v1/images/upscales      an image made larger (multipart)
POST   /v1/videos               text to video, image to video (a form, or JSON without images)
GET    /v1/videos               the videos that run, wait or are kept
GET    /v1/videos/{id}          how far one is
GET    /v1/videos/{id}/content  its file
DELETE /v1/videos/{id}          stop it between two steps, and forget it
GET    /v1/models               what is served, and what of it is loaded
GET    /v1/models/{id}          one of them
POST   /v1/models/load          load a served model before it is asked for
POST   /v1/models/preload       the same where it fits beside what is loaded, else nothing
POST   /v1/models/unload        free a model's memory
GET    /v1/capabilities         models, samplers, LoRAs and sizes, as agents publish them
GET    /v1/jobs                 what runs or waits
GET    /v1/jobs/{id}            how far a request is, by its X-Request-Id
GET    /v1/jobs/{id}/preview    how its first image looks, while it runs, if it asked for that
DELETE /v1/jobs/{id}            stop it between two steps
POST   /v1/jobs/{id}/suspend    the same, and hand out what was done of it
GET    /v1/jobs/{id}/checkpoint what was done of it so far, while it goes on
PUT    /v1/jobs/{id}/checkpoint what was done of the request that is to come by that X-Request-Id
GET    /health                  503 until the first model is loaded, or once the device is broken
GET    /metrics                 for Prometheus
GET    /openapi.json            these routes, by OpenAPI
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from opentelemetry.trace import NoOpTracer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from queue_agent.telemetry.export import exporting
from queue_agent.telemetry.options import TelemetryOptions
from queue_agent.wire.offer import Capabilities
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.jobs import EngineJob
from queue_agent_diffusers.engine.names import Names
from queue_agent_diffusers.errors import NotReady, PreviewNotFound, ServerError
from queue_agent_diffusers.http.api import (
    ActiveJobs,
    Health,
    JobStatus,
    LoadState,
    ModelName,
    ServedModel,
    ServedModels,
)
from queue_agent_diffusers.http.browsers import BrowserGuard
from queue_agent_diffusers.http.checkpoints import (
    UploadedCheckpoints,
    add_checkpoint_routes,
    most_waiting,
)
from queue_agent_diffusers.http.image_routes import MAX_BODY, add_image_routes, invalid_request
from queue_agent_diffusers.http.images import encode_file
from queue_agent_diffusers.http.metrics import EngineMetrics
from queue_agent_diffusers.http.middleware import RequestBodyLimit, RequestIds
from queue_agent_diffusers.http.offered import capabilities_of
from queue_agent_diffusers.http.upscale_routes import add_upscale_routes
from queue_agent_diffusers.http.video_routes import add_video_routes
from queue_agent_diffusers.options import Options

_PREVIEW_CONTENT: Final[dict[str, Any]] = {
    "content": {"image/png": {}},
    "description": "Small and rough: one pixel for each cell of the latents.",
}


def create_app(
    engine: Engine,
    metrics: EngineMetrics | None = None,
    traces: TelemetryOptions | None = None,
    *,
    hosts: Collection[str] = (),
    options: Options | None = None,
) -> FastAPI:
    """The application around an engine that the caller has started; closes it at its end.

    `hosts` are names that it may be called by; see `BrowserGuard`. `options` say what requests may
    name.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with exporting(traces or TelemetryOptions()) as exports:
            app.state.tracer = exports.telemetry.tracer
            yield
            await asyncio.to_thread(engine.close)

    app = FastAPI(
        title="Bundled diffusers runtime",
        description=__doc__,
        lifespan=lifespan,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
    )
    app.state.tracer = NoOpTracer()
    options = options or Options()
    most = most_waiting(options)
    app.add_middleware(RequestBodyLimit, limit=MAX_BODY, of_checkpoints=most)
    app.add_middleware(RequestIds)
    app.add_middleware(BrowserGuard, hosts=hosts)
    app.add_exception_handler(ServerError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_error)
    upscalers = options.upscalers
    names, uploaded = Names(engine.pool.names, upscalers), UploadedCheckpoints(most)
    add_image_routes(app, engine, names, uploaded)
    add_upscale_routes(app, engine, upscalers)
    add_video_routes(app, engine, names, uploaded)
    _add_job_routes(app, engine)
    add_checkpoint_routes(app, engine, uploaded)
    _add_model_routes(app, engine, names)

    @app.get("/v1/capabilities")
    async def capabilities() -> Capabilities:
        return await asyncio.to_thread(capabilities_of, engine.pool, names, options)

    _add_state_routes(app, engine, metrics or EngineMetrics())
    return app


def _add_job_routes(app: FastAPI, engine: Engine) -> None:
    @app.get("/v1/jobs")
    async def active_jobs() -> ActiveJobs:
        return ActiveJobs(data=[_status(job) for job in engine.active_jobs()])

    @app.get("/v1/jobs/{job_id}")
    async def job_status(job_id: str) -> JobStatus:
        return _status(engine.find(job_id))

    @app.get(
        "/v1/jobs/{job_id}/preview", response_class=Response, responses={200: _PREVIEW_CONTENT}
    )
    async def job_preview(job_id: str) -> Response:
        preview = engine.find(job_id).preview
        if preview is None:
            raise PreviewNotFound(f"There is no preview of the job {job_id!r}, or none any more.")
        return Response(
            await asyncio.to_thread(encode_file, preview, "png"), media_type="image/png"
        )

    @app.delete("/v1/jobs/{job_id}", status_code=202)
    async def cancel_job(job_id: str) -> JobStatus:
        return _status(engine.cancel(job_id))


def _add_model_routes(app: FastAPI, engine: Engine, names: Names) -> None:
    started = int(time.time())

    def entry(source: str) -> ServedModel:
        model, state = engine.pool.find(source), engine.pool.state(source)
        progress = engine.pool.progress(source)
        loading = LoadState(
            stage=progress.stage, done_bytes=progress.done, total_bytes=progress.total
        )
        return ServedModel(
            id=names.listed(source),
            created=started,
            state=state,
            max_batch=model.max_batch if model else None,
            revision=progress.revision,
            running=dict(progress.told) if state == "loaded" else {},
            loading=loading if state == "loading" else None,
        )

    @app.get("/v1/models")
    async def models() -> ServedModels:
        return ServedModels(
            data=[entry(source) for source in names.generating],
            upscalers=[entry(source) for source in names.upscalers],
        )

    @app.get("/v1/models/{model:path}")
    async def model(model: str) -> ServedModel:
        return entry(names.source(model) or engine.pool.names[0])

    @app.post("/v1/models/load", status_code=202)
    async def load(body: ModelName) -> ServedModel:
        source = names.source(body.model) or engine.pool.names[0]
        engine.load(source)
        return entry(source)

    @app.post("/v1/models/preload", status_code=202)
    async def preload(body: ModelName) -> ServedModel:
        source = names.source(body.model) or engine.pool.names[0]
        engine.preload(source)
        return entry(source)

    @app.post("/v1/models/unload")
    async def unload(body: ModelName) -> ServedModel:
        source = names.source(body.model) or engine.pool.names[0]
        if not engine.ready:
            raise NotReady("The model is still loading.")
        await asyncio.wrap_future(engine.unload(source))
        return entry(source)


def _add_state_routes(app: FastAPI, engine: Engine, metrics: EngineMetrics) -> None:
    def jobs_in(state: str) -> float:
        return sum(job.state == state for job in engine.active_jobs())

    def weights() -> float:
        loaded = [engine.pool.find(name) for name in engine.pool.names]
        return sum(model.memory for model in loaded if model)

    metrics.gauge("diffusers_jobs_waiting", "Jobs that wait.", lambda: jobs_in("queued"))
    metrics.gauge("diffusers_jobs_running", "Jobs that run.", lambda: jobs_in("running"))
    metrics.gauge("diffusers_model_bytes", "Bytes of the loaded models' weights.", weights)

    @app.get("/health")
    async def health() -> Health:
        engine.check_ready()
        return Health(max_batch=engine.max_batch)

    @app.get("/metrics", response_class=Response)
    async def metrics_page() -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE_LATEST)


def _status(job: EngineJob) -> JobStatus:
    return JobStatus(
        id=job.id,
        status=job.state,
        step=job.step,
        steps=job.steps,
        progress=job.progress,
        previews=job.previews,
        resumed_steps=job.resumed_steps,
    )


async def _answer_error(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, RequestValidationError):
        error = invalid_request(error.errors())
    if isinstance(error, ServerError):
        return JSONResponse(error.body, error.status, headers=error.headers)
    if isinstance(error, HTTPException):
        body = {"message": error.detail, "type": "invalid_request_error", "code": "http_error"}
        return JSONResponse(
            {"error": {**body, "param": None}}, error.status_code, headers=error.headers
        )
    raise error
