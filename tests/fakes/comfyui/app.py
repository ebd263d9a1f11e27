"""The fake's HTTP routes: those of ComfyUI's `server.py`, at their path and under `/api`."""

import asyncio
import json
import mimetypes
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Body, FastAPI, Request, Response, WebSocket
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from pydantic import JsonValue
from starlette.datastructures import FormData

from fakes.comfyui.engine import Engine, Prompt
from fakes.comfyui.faults import Faults
from fakes.comfyui.files import FOLDERS, FileRecord, Files
from fakes.comfyui.model_lists import MODEL_FOLDERS
from fakes.comfyui.nodes import NODE_CLASSES
from fakes.comfyui.sockets import Sockets
from fakes.comfyui.validation import validate

Json = dict[str, JsonValue]
_PAGE = "<!DOCTYPE html><html><body>Bad Gateway</body></html>"


@dataclass(frozen=True)
class Options:
    """How the fake is started."""

    step_seconds: float = 0.01
    history_delay: float = 0.02
    history_limit: int = 10000
    cache_none: bool = False
    """Execute every node of every prompt."""
    disable_metadata: bool = False
    """Save images without the workflow in them."""
    deadly: str | None = None
    """The execution of a workflow that holds this text ends the process."""
    folder: str | None = None
    """Where the folders of files are, if they are to be real ones."""
    models: str | None = None
    """A real folder of models beside those that there always are."""
    authorization: str | None = None
    """The Authorization header that every request must carry."""


class FakeComfyUI:
    """The server's state and its routes."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.files = Files(
            Path(options.folder) if options.folder else None,
            Path(options.models) if options.models else None,
        )
        self.sockets = Sockets()
        self.engine = Engine(
            self.files,
            self.sockets.send,
            self.sockets.send_preview,
            self.sockets.send_image,
            step_seconds=options.step_seconds,
            history_delay=options.history_delay,
            history_limit=options.history_limit,
            cache_none=options.cache_none,
            disable_metadata=options.disable_metadata,
            deadly=options.deadly,
        )
        self._number = 0
        self.histories_told = 0
        """Questions for a prompt's history that were answered with one."""

    def app(self) -> FastAPI:
        app = FastAPI(lifespan=self._lifespan)
        app.middleware("http")(self._guard)
        routes = self._routes()
        app.include_router(routes)
        app.include_router(routes, prefix="/api")
        app.include_router(self._control_routes(), prefix="/fake")
        return app

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            worker = tasks.create_task(self.engine.work())
            yield
            worker.cancel()

    def _routes(self) -> APIRouter:
        routes = APIRouter()
        routes.add_api_websocket_route("/ws", self._ws)
        routes.add_api_route("/prompt", self._post_prompt, methods=["POST"])
        routes.add_api_route("/prompt", self._get_prompt)
        routes.add_api_route("/queue", self._get_queue)
        routes.add_api_route("/queue", self._post_queue, methods=["POST"])
        routes.add_api_route("/interrupt", self._interrupt, methods=["POST"])
        routes.add_api_route("/free", self._free, methods=["POST"])
        routes.add_api_route("/history", self._get_history)
        routes.add_api_route("/history", self._post_history, methods=["POST"])
        routes.add_api_route("/history/{prompt_id}", self._get_history)
        routes.add_api_route("/view", self._view)
        routes.add_api_route("/upload/image", self._upload_image, methods=["POST"])
        routes.add_api_route("/upload/mask", self._upload_mask, methods=["POST"])
        routes.add_api_route("/system_stats", self._system_stats)
        routes.add_api_route("/object_info", self._object_info)
        routes.add_api_route("/object_info/{node_class}", self._object_info)
        routes.add_api_route("/models", self._model_folders)
        routes.add_api_route("/models/{folder}", self._models)
        return routes

    def _control_routes(self) -> APIRouter:
        routes = APIRouter()
        routes.add_api_route("/faults", self._set_faults, methods=["POST"])
        routes.add_api_route("/reset", self._reset, methods=["POST"])
        routes.add_api_route("/state", self._state)
        return routes

    async def _guard(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if not request.url.path.startswith("/fake"):
            if self.engine.faults.status:
                return HTMLResponse(_PAGE, status_code=self.engine.faults.status)
            wanted = self.options.authorization
            if wanted and request.headers.get("authorization") != wanted:
                return Response("Unauthorized", status_code=401)
        return await call_next(request)

    async def _ws(self, socket: WebSocket) -> None:
        wanted = self.options.authorization
        refused = wanted and socket.headers.get("authorization") != wanted
        if refused or self.engine.faults.socket == "refuse":
            await socket.close()
            return
        client_id = socket.query_params.get("clientId") or uuid.uuid4().hex
        await socket.accept()
        exec_info: Json = {"queue_remaining": self.engine.queue_remaining}
        first: Json = {"status": {"exec_info": exec_info}, "sid": client_id}
        told = [("status", first), *self.engine.whereabouts(client_id)]
        await self.sockets.serve(socket, client_id, told)

    async def _post_prompt(self, request: Request) -> Response:
        if self.engine.faults.prompt_status:
            return HTMLResponse(_PAGE, status_code=self.engine.faults.prompt_status)
        try:
            return self._taken(await request.json())
        except (TypeError, AttributeError, ValueError):
            return _trouble()

    def _taken(self, body: Json) -> Response:
        if "prompt" not in body:
            return _refusal("no_prompt", "No prompt provided", "No prompt provided")
        if not _is_prompt_id(body.get("prompt_id")):
            return _refusal(
                "invalid_prompt_id",
                "prompt_id must be a valid UUID",
                "prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it "
                "to let the server generate one",
            )
        graph = body["prompt"]
        if not isinstance(graph, dict):
            raise TypeError("no workflow")
        verdict = validate(graph, self.files, body.get("partial_execution_targets"))
        if verdict.error is not None:
            answer = {"error": verdict.error, "node_errors": verdict.node_errors}
            return JSONResponse(answer, status_code=400)
        extra_data = body.get("extra_data", {})
        if not isinstance(extra_data, dict):
            raise TypeError("no extra data")
        given = body.get("number", self._next_number(body))
        if not isinstance(given, int | float | str):
            raise TypeError("no number")
        number = float(given) if "number" in body else given
        if "client_id" in body:
            extra_data = {**extra_data, "client_id": body["client_id"]}
        extra_data = {**extra_data, "create_time": int(time.time() * 1000)}
        prompt_id = str(body.get("prompt_id") or uuid.uuid4())
        self.engine.submit(Prompt(float(number), prompt_id, graph, extra_data, verdict.outputs))
        return JSONResponse(
            {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
        )

    def _next_number(self, body: Json) -> float:
        number = self._number
        self._number += 1
        return -number if body.get("front") else number

    async def _get_prompt(self) -> Json:
        return {"exec_info": {"queue_remaining": self.engine.queue_remaining}}

    async def _get_queue(self) -> Json:
        running = self.engine.running
        return {
            "queue_running": [running.as_json()] if running else [],
            "queue_pending": [prompt.as_json() for prompt in self.engine.pending],
        }

    async def _post_queue(self, request: Request) -> Response:
        try:
            body = await request.json()
        except ValueError:
            return _trouble()
        if body.get("clear"):
            self.engine.pending.clear()
        for prompt_id in _strings(body.get("delete")):
            self.engine.delete_pending(prompt_id)
        return Response()

    async def _interrupt(self, request: Request) -> Response:
        """A body that is no JSON is as none: whatever runs is stopped."""
        try:
            body = await request.json()
        except ValueError:
            body = {}
        self.engine.interrupt(body.get("prompt_id"))
        return Response()

    async def _free(self, _body: Annotated[Json, Body()]) -> Response:
        self.engine.frees += 1
        return Response()

    async def _get_history(self, prompt_id: str | None = None) -> Response:
        """With NaN where a node told one, which is no JSON."""
        history = self.engine.history
        if prompt_id is not None:
            history = {prompt_id: history[prompt_id]} if prompt_id in history else {}
            self.histories_told += len(history)
        return Response(json.dumps(history), media_type="application/json")

    async def _post_history(self, body: Annotated[Json, Body()]) -> Response:
        if body.get("clear"):
            self.engine.history.clear()
        for prompt_id in _strings(body.get("delete")):
            self.engine.history.pop(prompt_id, None)
        return Response()

    async def _view(
        self,
        filename: str | None = None,
        subfolder: str = "",
        type: str = "output",  # noqa: A002  the real route's parameter
    ) -> Response:
        fault = self.engine.faults.view
        if fault == "html":
            return HTMLResponse(_PAGE)
        if filename is None:
            return Response(status_code=404)
        if (refusal := _refused_view(filename, subfolder, type)) is not None:
            return Response(status_code=refusal)
        data = self.files.read(FileRecord(filename.rpartition("/")[2], subfolder, type))
        gone = self.engine.faults.gone
        if data is None or fault == "missing" or (gone and gone in filename):
            return Response(status_code=404)
        media_type = mimetypes.guess_type(filename)[0] or "application/octet-stream"
        if fault in {"truncated", "oversized", "slow"}:
            length = str(len(data) * 1_000_000 if fault == "oversized" else len(data))
            return StreamingResponse(
                _broken(data, slow=fault == "slow"),
                headers={"content-length": length},
                media_type=media_type,
            )
        return Response(data, media_type=media_type)

    async def _upload_image(self, request: Request) -> Response:
        async with request.form() as form:
            return await self._upload(form)

    async def _upload_mask(self, request: Request) -> Response:
        async with request.form() as form:
            return await self._upload(form) if "original_ref" in form else _trouble()

    async def _upload(self, form: FormData) -> Response:
        image, folder = form.get("image"), str(form.get("type") or "input")
        subfolder = str(form.get("subfolder") or "")
        if image is None:
            return Response(status_code=400)
        if isinstance(image, str) or folder not in FOLDERS:
            return _trouble()
        filename = image.filename or ""
        if not filename or ".." in f"{subfolder}/{filename}".split("/"):
            return Response(status_code=400)
        record = self.files.upload(
            FileRecord(filename, subfolder, folder),
            await image.read(),
            overwrite=form.get("overwrite") in {"true", "1"},
        )
        return JSONResponse({"name": record.filename, "subfolder": subfolder, "type": folder})

    async def _system_stats(self) -> Json:
        return {
            "system": {
                "os": "posix",
                "ram_total": 64 * 2**30,
                "ram_free": 48 * 2**30,
                "comfyui_version": "0.8.0",
                "python_version": "3.12.3",
                "pytorch_version": "2.9.0+cpu",
                "embedded_python": False,
                "argv": ["main.py"],
            },
            "devices": [
                {
                    "name": "cpu",
                    "type": "cpu",
                    "index": None,
                    "vram_total": 64 * 2**30,
                    "vram_free": 48 * 2**30,
                    "torch_vram_total": 64 * 2**30,
                    "torch_vram_free": 48 * 2**30,
                }
            ],
        }

    async def _object_info(self, node_class: str | None = None) -> Response:
        if self.engine.faults.object_info == "missing":
            return Response(status_code=404)
        names = NODE_CLASSES if node_class is None else {node_class} & NODE_CLASSES.keys()
        return JSONResponse({name: NODE_CLASSES[name].info(name, self.files) for name in names})

    async def _model_folders(self) -> list[str]:
        return [*MODEL_FOLDERS]

    async def _models(self, folder: str) -> Response:
        if folder not in MODEL_FOLDERS:
            return Response(status_code=404)
        return JSONResponse(self.files.models_of(folder))

    async def _set_faults(self, faults: Faults) -> Faults:
        self.engine.faults = self.sockets.faults = faults
        return faults

    async def _reset(self) -> Json:
        """Stop all work, and forget prompts, files and faults."""
        self.engine.pending.clear()
        self.engine.interrupt(None)
        await self.engine.idle.wait()
        self.engine.forget_everything()
        self.histories_told = 0
        await self._set_faults(Faults())
        return {}

    async def _state(self) -> Json:
        return {
            "runs": [asdict(run) for run in self.engine.runs],
            "pending": [prompt.id for prompt in self.engine.pending],
            "files": [{**record.as_json()} for record in self.files],
            "frees": self.engine.frees,
            "histories_told": self.histories_told,
            "sockets": self.sockets.connected,
            "sockets_opened": self.sockets.opened,
        }


async def _broken(data: bytes, *, slow: bool) -> AsyncIterator[bytes]:
    yield data[: len(data) // 2]
    if slow:
        await asyncio.sleep(3600)


def _refused_view(filename: str, subfolder: str, folder: str) -> int | None:
    if not filename or filename[0] == "/" or ".." in filename or folder not in FOLDERS:
        return 400
    if ".." in subfolder.split("/") or subfolder.startswith("/"):
        return 403
    return None


def _trouble() -> Response:
    words = "500 Internal Server Error\n\nServer got itself in trouble"
    return Response(words, status_code=500, media_type="text/plain")


def _refusal(kind: str, message: str, details: str) -> Response:
    error: Json = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return JSONResponse({"error": error, "node_errors": {}}, status_code=400)


def _is_prompt_id(value: JsonValue) -> bool:
    """Whether it is absent, or a UUID as the real server wants it written."""
    try:
        return value is None or (isinstance(value, str) and str(uuid.UUID(value)) == value)
    except ValueError:
        return False


def _strings(value: JsonValue) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
