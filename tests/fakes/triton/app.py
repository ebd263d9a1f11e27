"""The routes of the fake Triton."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fakes.triton.engine import Engine, Made, json_data
from fakes.triton.requests import Inference, Refusal, read_inference
from fakes.triton.served import BROKEN, MODELS, Served

HEADER = "Inference-Header-Content-Length"
EXTENSIONS = [
    "classification", "sequence", "model_repository", "model_repository(unload_dependents)",
    "schedule_policy", "model_configuration", "system_shared_memory", "cuda_shared_memory",
    "binary_tensor_data", "parameters", "statistics", "trace", "logging",
]  # fmt: skip


class FakeTriton:
    """Serves `MODELS`, and knows of one that does not load."""

    def __init__(self, step_seconds: float, *, broken: bool) -> None:
        self.engines = {name: Engine(model, step_seconds) for name, model in MODELS.items()}
        self.broken = broken

    def app(self) -> Starlette:
        get, post = ["GET"], ["POST"]
        return Starlette(
            routes=[
                Route("/v2", self.server, methods=get),
                Route("/v2/health/live", self.live, methods=get),
                Route("/v2/health/ready", self.ready, methods=get),
                Route("/v2/repository/index", self.index, methods=post),
                Route("/v2/models/{name}", self.metadata, methods=get),
                Route("/v2/models/{name}/ready", self.model_ready, methods=get),
                Route("/v2/models/{name}/config", self.config, methods=get),
                Route("/v2/models/{name}/infer", self.infer, methods=post),
                Route("/held", self.held, methods=get),
                Route("/end-work", self.end_work, methods=post),
            ],
            exception_handlers={Refusal: _refused, 404: _not_found, 405: _not_allowed},
            lifespan=self._working,
        )

    @asynccontextmanager
    async def _working(self, _: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(engine.work()) for engine in self.engines.values()]
        yield
        for task in tasks:
            task.cancel()

    async def server(self, _: Request) -> Response:
        return JSONResponse({"name": "triton", "version": "2.51.0", "extensions": EXTENSIONS})

    async def live(self, _: Request) -> Response:
        return Response(media_type="text/plain")

    async def ready(self, _: Request) -> Response:
        return Response(status_code=400 if self.broken else 200, media_type="text/plain")

    async def index(self, _: Request) -> Response:
        found = [{"name": name, "version": "1", "state": "READY"} for name in self.engines]
        if self.broken:
            reason = "Internal: RuntimeError: no weights"
            found.append({"name": BROKEN, "version": "1", "state": "UNAVAILABLE", "reason": reason})
        return JSONResponse(sorted(found, key=lambda one: one["name"]))

    async def model_ready(self, request: Request) -> Response:
        if request.path_params["name"] not in self.engines:
            raise Refusal(400, "Model version not ready")
        return Response(media_type="text/plain")

    async def metadata(self, request: Request) -> Response:
        model = self._engine(request).model
        tensors = {
            kind: [
                {"name": one.name, "datatype": one.datatype, "shape": model.shape(one)}
                for one in given
            ]
            for kind, given in (("inputs", model.inputs), ("outputs", model.outputs))
        }
        return JSONResponse(
            {"name": model.name, "versions": ["1"], "platform": "python", **tensors}
        )

    async def config(self, request: Request) -> Response:
        return JSONResponse(config_of(self._engine(request).model))

    async def infer(self, request: Request) -> Response:
        engine = self._engine(request)
        body = await request.body()
        inference = read_inference(engine.model, body, request.headers.get(HEADER))
        return _answer(engine.model, inference, await engine.infer(inference))

    async def held(self, _: Request) -> Response:
        return JSONResponse(sum(engine.held for engine in self.engines.values()))

    async def end_work(self, _: Request) -> Response:
        for engine in self.engines.values():
            engine.end_work()
        return Response()

    def _engine(self, request: Request) -> Engine:
        name = request.path_params["name"]
        if self.broken and name == BROKEN:
            raise Refusal(404, f"Request for unknown model: '{name}' has no available versions")
        if name not in self.engines:
            raise Refusal(404, f"Request for unknown model: '{name}' is not found")
        return self.engines[name]


def config_of(model: Served) -> dict[str, Any]:
    """As Triton completes it, as far as anybody reads it."""
    config: dict[str, Any] = {
        "name": model.name,
        "backend": "python",
        "max_batch_size": model.max_batch,
        "input": [
            {
                "name": one.name,
                "data_type": one.data_type,
                "dims": [*one.dims],
                "optional": one.optional,
            }
            for one in model.inputs
        ],
        "output": [
            {"name": one.name, "data_type": one.data_type, "dims": [*one.dims]}
            for one in model.outputs
        ],
        "instance_group": [{"name": f"{model.name}_0", "kind": "KIND_CPU", "count": 1, "gpus": []}],
    }
    if model.dynamic:
        config["dynamic_batching"] = {"max_queue_delay_microseconds": 20000}
    return config


def _answer(model: Served, inference: Inference, outputs: list[Made]) -> Response:
    described: list[dict[str, Any]] = []
    data = b""
    for made in outputs:
        entry = {"name": made.name, "datatype": made.datatype, "shape": made.shape}
        if inference.binary[made.name]:
            described.append({**entry, "parameters": {"binary_data_size": len(made.data)}})
            data += made.data
        else:
            described.append({**entry, "data": json_data(made)})
    told: dict[str, Any] = {"id": inference.id} if inference.id else {}
    told |= {"model_name": model.name, "model_version": "1", "outputs": described}
    # Files in JSON are no UTF-8, and so no JSON: the real server writes their bytes as they are.
    text = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode("latin-1")
    if not any(inference.binary.values()):
        return Response(text, media_type="application/json")
    return Response(
        text + data, media_type="application/octet-stream", headers={HEADER: str(len(text))}
    )


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return JSONResponse({"error": error.words}, status_code=error.status)


async def _not_found(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": "Not Found"}, status_code=404)


async def _not_allowed(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": "Method Not Allowed"}, status_code=405)
