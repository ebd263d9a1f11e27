"""The routes of the fake, as coglet 0.23.1 answers: `tests/contract/test_cog.py` asks both."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from jsonschema import Draft7Validator

from fakes.cog.predictions import CRASH, Prediction, WorkerCrashed

SCHEMA: Final = Path(__file__).parent / "model" / ".cog" / "openapi_schema.json"
NOT_READY: Final = (
    "Setup has not finished yet. Wait until it has finished, or GET /health-check for status."
)
BUSY: Final = "At capacity - all prediction slots busy"
STARTED: Final = "2026-11-29T05:12:17.747441148+00:00"

Json = dict[str, Any]


class Server:
    """One model with one place."""

    def __init__(
        self,
        *,
        described: bool,
        status: str | None,
        upload_url: str | None,
        deaf: bool,
        begins_after: float,
    ) -> None:
        self.deaf = deaf
        self.begins_after = begins_after
        self.made = 0
        self.document: Json | None = json.loads(SCHEMA.read_text()) if described else None
        self.status = status
        self.upload_url = upload_url
        self.crashed = False
        self.under_way: dict[str, Prediction] = {}
        self.kept: set[asyncio.Task[Json]] = set()

    def health(self) -> Json:
        lost = "Healthcheck error: protocol error: healthcheck channel closed"
        status = self.status or ("BUSY" if self.under_way else "READY")
        setup: Json = {"started_at": STARTED, "status": "succeeded", "logs": "the last line"}
        answer: Json = {"status": status, "setup": setup, "version": {"coglet": "0.23.1"}}
        if self.crashed and not self.status:
            answer |= {"status": "UNHEALTHY", "user_healthcheck_error": lost}
        elif status == "UNHEALTHY":
            answer["user_healthcheck_error"] = "Healthcheck returned False"
        return answer

    def refusal(self, given: Any) -> Response | None:
        """Why a request is not even begun; strips what the model has no input for."""
        if self.status not in {None, "READY", "BUSY"}:
            return JSONResponse({"error": NOT_READY, "status": "failed"}, 503)
        if self.document is not None and (errors := self._errors(given)):
            return JSONResponse({"detail": errors}, 422)
        if self.under_way or self.crashed:
            return JSONResponse({"error": BUSY, "status": "failed"}, 409)
        if self.document is not None and isinstance(given, dict):
            given |= dict.fromkeys(self._left_out(given))
        return None

    def _left_out(self, given: Json) -> list[str]:
        """The optional inputs that have no default and were not given."""
        described = (self.document or {})["components"]["schemas"]["Input"]["properties"]
        return [
            name
            for name, entry in described.items()
            if entry.get("nullable") and "default" not in entry and name not in given
        ]

    def _errors(self, given: Any) -> list[Json]:
        schemas = (self.document or {})["components"]["schemas"]
        schema = schemas["Input"]
        if isinstance(given, dict):
            for name in given.keys() - schema["properties"].keys():
                del given[name]
        entries = {name: _plain(entry, schemas) for name, entry in schema["properties"].items()}
        validator = Draft7Validator({**schema, "properties": entries})
        found = []
        for error in sorted(validator.iter_errors(given), key=lambda error: list(error.path)):
            if error.validator == "required":
                name = error.message.split("'")[1]
                found.append((name, "Field required", "value_error.missing"))
            else:
                found.append(
                    (str(next(iter(error.path), "__root__")), _words(error), "value_error")
                )
        return [{"loc": ["body", "input", name], "msg": m, "type": kind} for name, m, kind in found]


def _plain(entry: Json, schemas: Json) -> Json:
    if "allOf" in entry:
        return dict(schemas[entry["allOf"][0]["$ref"].rpartition("/")[2]])
    return {**entry, "type": [entry["type"], "null"]} if entry.get("nullable") else entry


def _words(error: Any) -> str:
    """As the Rust library says it."""
    value = json.dumps(error.instance, separators=(",", ":"))
    if error.validator == "enum":
        return f"{value} is not one of {json.dumps(error.validator_value, separators=(',', ':'))}"
    if error.validator == "type":
        kinds = error.validator_value
        return f'{value} is not of type "{kinds if isinstance(kinds, str) else kinds[0]}"'
    return str(error.message)


def create_app(
    *,
    described: bool = True,
    status: str | None = None,
    upload_url: str | None = None,
    deaf: bool = False,
    begins_after: float = 0.005,
) -> FastAPI:
    """The server, as ASGI application."""
    server = Server(
        described=described,
        status=status,
        upload_url=upload_url,
        deaf=deaf,
        begins_after=begins_after,
    )
    app = FastAPI(openapi_url=None, docs_url=None)

    @app.get("/health-check")
    async def health() -> Json:
        return server.health()

    @app.get("/fake/made")
    async def made() -> int:
        return server.made

    @app.get("/openapi.json")
    async def schema() -> Response:
        if server.document is None:
            return JSONResponse({"error": "OpenAPI schema not available"}, 503)
        return JSONResponse(server.document)

    @app.put("/predictions/{name}")
    async def put(name: str, request: Request) -> Response:
        return await _put(server, name, request)

    @app.post("/predictions/{name}/cancel")
    async def cancel(name: str) -> Response:
        if name not in server.under_way:
            return JSONResponse({}, 404)
        server.under_way[name].cancel()
        return JSONResponse({})

    return app


async def _put(server: Server, name: str, request: Request) -> Response:
    try:
        asked = json.loads(await request.body())
    except ValueError as error:
        return PlainTextResponse(f"Failed to parse the request body as JSON: {error}", 400)
    if asked.get("id", name) != name:
        return JSONResponse({"detail": [_MISMATCH]}, 422)
    if (joined := server.under_way.get(name)) is not None:
        return JSONResponse(joined.state(), 202)
    given = {} if asked.get("input") is None else asked["input"]
    if refusal := server.refusal(given):
        return refusal
    prediction = Prediction(name, given, server.upload_url, server.begins_after)
    server.under_way[name] = prediction
    server.made += isinstance(given, dict)
    work = asyncio.create_task(_made(server, prediction))
    if request.headers.get("prefer") == "respond-async":
        server.kept.add(work)
        return JSONResponse({"id": name, "status": "starting"}, 202)
    gone = asyncio.create_task(_gone(request))
    await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    if not (work.done() or server.deaf):
        prediction.cancel()
    return JSONResponse(await work)


async def _made(server: Server, prediction: Prediction) -> Json:
    began = time.monotonic()
    try:
        answer = await prediction.work()
    except WorkerCrashed:
        server.crashed = True
        answer = {"error": CRASH, "logs": "", "status": "failed"}
    finally:
        del server.under_way[prediction.name]
    metrics = {**prediction.metrics, "predict_time": time.monotonic() - began}
    return {"id": prediction.name, "metrics": metrics, **answer}


async def _gone(request: Request) -> None:
    """Return when the client has closed its connection; the body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


_MISMATCH: Final = {
    "loc": ["body", "id"],
    "msg": "prediction ID must match the ID supplied in the URL",
    "type": "value_error",
}
