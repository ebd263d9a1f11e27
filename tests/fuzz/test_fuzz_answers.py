"""Whatever a runtime answers, it is an output or an error of ours, and either can be stored."""

import base64
import io
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image
from pydantic import JsonValue

from fuzz.fuzzing import Json, damaged, examples, json_values, mutated, settled, written
from queue_agent.media.asset import Spool
from queue_agent.runtime import Asset, Output, Prepared, Readiness, RuntimeOptions
from queue_agent.runtime.http import Response, RuntimeClient, StreamedResponse
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.job import Job
from queue_agent.wire.notification import ErrorReport
from queue_agent.wire.result import Result
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.events import parse_event
from queue_agent_runtimes.comfyui.failures import failure_of, refused
from queue_agent_runtimes.comfyui.outputs import fetch_artifact, find_outputs
from queue_agent_runtimes.comfyui.progress import ProgressTracker
from queue_agent_runtimes.openai_images.answer import error_from as openai_error
from queue_agent_runtimes.openai_images.answer import read_output, read_progress
from queue_agent_runtimes.webui.answer import error_of as webui_error
from queue_agent_runtimes.webui.answer import output_of
from queue_agent_runtimes.webui.client import WebUIClient
from queue_agent_runtimes.webui.lists import ServerLists
from queue_agent_runtimes.webui.naming import find_checkpoint, settle_generation
from queue_agent_runtimes.webui.options import ServerOptions
from queue_agent_runtimes.webui.previews import LivePreviews
from queue_agent_runtimes.webui.start import StartAwareClient


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(file, "PNG")
    return file.getvalue()


PNG: Final = _picture()
ENCODED: Final = base64.b64encode(PNG).decode()
ID: Final = "0a1b2c3d"
JOB: Final = Job.model_validate(
    {"metadata": {"id": "job", "tasktype": "text-to-image"}, "content": {"seed": 1}}
)
STATUSES: Final = (200, 201, 204, 302, 400, 401, 403, 404, 405, 409, 413, 422, 429, 500, 502, 503)

GENERATED: Final[JsonValue] = {
    "images": [ENCODED, f"data:image/png;base64,{ENCODED}", ENCODED],
    "parameters": {"prompt": "a", "init_images": [ENCODED], "mask": ENCODED},
    "info": written(
        {"all_seeds": [1, 2], "infotexts": ["a", "b", "c"], "index_of_first_image": 1, "seed": 1}
    ),
}
INFO: Final[JsonValue] = {"all_seeds": [1, 2], "infotexts": ["a"], "index_of_first_image": 1}
OPENAI: Final[JsonValue] = {
    "created": 1,
    "data": [{"b64_json": ENCODED, "revised_prompt": None, "seed": 5}],
    "warnings": ["a"],
}
STATUS: Final[JsonValue] = {"progress": 0.5, "step": 1, "steps": 2}
ERRORS: Final[tuple[JsonValue, ...]] = (
    {"error": "OutOfMemoryError", "detail": "", "body": "", "errors": "CUDA out of memory"},
    {"detail": [{"loc": ["body", "steps"], "msg": "not an integer", "type": "int"}]},
    {"error": {"message": "no", "type": "invalid", "code": 400}},
    {
        "error": {"type": "prompt_no_outputs", "message": "a", "details": "b", "extra_info": {}},
        "node_errors": {
            "5": {
                "errors": [{"type": "a", "message": "b", "extra_info": {"input_name": "c"}}],
                "dependent_outputs": ["9"],
                "class_type": "KSampler",
            }
        },
    },
)
HISTORY: Final[tuple[JsonValue, ...]] = (
    {
        "prompt": [1, ID, {}, {}, ["9"]],
        "outputs": {
            "9": {"images": [{"filename": "a.png", "subfolder": "b", "type": "output"}]},
            "10": {"text": ["hello"], "gifs": [{"filename": "a.webm"}]},
        },
        "status": {"status_str": "success", "completed": True, "messages": []},
    },
    {
        "outputs": {},
        "status": {
            "status_str": "error",
            "messages": [
                ["execution_start", {}],
                [
                    "execution_error",
                    {
                        "node_id": "5",
                        "node_type": "KSampler",
                        "exception_type": "torch.OutOfMemoryError",
                        "exception_message": "out of memory",
                        "traceback": ["a"],
                    },
                ],
            ],
        },
    },
    {"status": {"status_str": "error", "messages": [["execution_interrupted", {}]]}},
)
EVENTS: Final[tuple[JsonValue, ...]] = (
    {"type": "execution_cached", "data": {"prompt_id": ID, "nodes": ["1", "2"]}},
    {"type": "executing", "data": {"prompt_id": ID, "node": "5"}},
    {"type": "progress", "data": {"prompt_id": ID, "node": "5", "value": 3, "max": 20}},
    {"type": "executed", "data": {"prompt_id": ID, "node": "9", "output": {}}},
    {"type": "execution_success", "data": {"prompt_id": ID}},
)
SMALL_ANSWERS: Final[tuple[JsonValue, ...]] = (
    {"progress": 0.3, "state": {"job_count": 1, "interrupted": True}, "current_task": "task"},
    {"active": True, "queued": False, "completed": False, "progress": 0.4},
    [{"title": "a.safetensors [1]", "model_name": "a", "hash": "1", "sha256": "2"}],
    {"queue_running": [[1, ID, {}, {}, []]], "queue_pending": []},
    {ID: HISTORY[0]},
    {"CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [["a.safetensors"], {}]}}}},
    {"C": {"input": {"required": {"ckpt_name": ["COMBO", {"options": ["a"]}]}}}},
    {"name": "a.png", "subfolder": "b", "type": "input"},
    {"prompt_id": ID, "number": 1, "node_errors": {}},
    {"system": {"comfyui_version": "1"}, "devices": [{"name": "cpu"}]},
)


def bodies(*originals: JsonValue) -> SearchStrategy[bytes]:
    """Answers that resemble these, and some that don't."""
    return st.one_of(
        *[mutated(originals).map(written).map(str.encode)] * 4,
        damaged(st.sampled_from(originals).map(written)).map(_encoded),
        json_values.map(written).map(str.encode),
        st.binary(max_size=40),
        st.sampled_from(
            [b"", b"NaN", b'{"a": Infinity}', b"[" * 5_000, b"<html>", b"\xff\xfe", PNG]
        ),
    )


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


class Answering(RuntimeClient):
    """A client that is always given the same answer."""

    def __init__(self, answer: Response) -> None:
        super().__init__(RuntimeOptions(), "http://127.0.0.1")
        self._answer = answer

    async def send(self, *_: Any, **__: Any) -> Response:
        return self._answer

    @asynccontextmanager
    async def stream(self, *_: Any, **__: Any) -> AsyncIterator[StreamedResponse]:
        yield Streamed(self._answer)


class AnsweringAtOnce(Answering, StartAwareClient):
    """One that does not knock before."""

    def __init__(self, answer: Response) -> None:
        StartAwareClient.__init__(self, RuntimeOptions(), "http://127.0.0.1", lambda: None)
        self._answer = answer

    async def starting(self) -> Readiness | None:
        return None

    def starts_still(self) -> bool:
        return False


class Streamed(StreamedResponse):
    """The answer in pieces of a few bytes."""

    def __init__(self, answer: Response) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._body = answer.body

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(self._body), 7):
            yield self._body[start : start + 7]


def comfyui_answering(answer: Response) -> ComfyUIApi:
    api = ComfyUIApi(RuntimeOptions(), "http://127.0.0.1")
    api._client = Answering(answer)
    return api


def only_our_errors(work: Coroutine[Any, Any, Output]) -> None:
    """An output that the manifest can hold, or an error of ours."""
    try:
        output = settled(work)
    except QueueAgentError as error:
        storable(error)
    else:
        manifest = Result(
            runtime="r", id="i", status="completed", result=True, response=output.response
        )
        manifest = manifest.model_copy(update={"warnings": list(output.warnings)})
        text = manifest.model_dump_json(ensure_ascii=True)
        assert Result.model_validate_json(text).response == output.response


def storable(error: QueueAgentError) -> None:
    report = ErrorReport.of(error)
    result = Result(
        runtime="r", id="i", status="failed", result=False, error=report, response=error.details
    )
    assert Result.model_validate_json(result.model_dump_json(ensure_ascii=True)).error == report


@examples(300)
@given(st.one_of(bodies(GENERATED), mutated((INFO,)).map(lambda info: _generated(written(info)))))
def test_the_web_uis_images(body: bytes) -> None:
    async def read() -> Output:
        return await output_of(Response(200, body).json_object(), {}, ())

    only_our_errors(read())


def _generated(info: str) -> bytes:
    return written({"images": [ENCODED, ENCODED], "info": info}).encode()


@examples(300)
@given(bodies(OPENAI))
def test_the_images_of_the_openai_dialect(body: bytes) -> None:
    async def read() -> Output:
        return await read_output(Response(200, body).json_object(), Prepared(JOB, {"seed": 1}))

    only_our_errors(read())


@examples(300)
@given(st.sampled_from(STATUSES[4:]), bodies(*ERRORS))
def test_refusals_and_failures(status: int, body: bytes) -> None:
    answer = Response(status, body)
    for translate in (webui_error, openai_error, refused):
        try:
            storable(translate(answer))
        except QueueAgentError as error:
            storable(error)


@examples(300)
@given(bodies(*HISTORY), bodies(OPENAI))
def test_the_history_and_the_files_of_comfyui(body: bytes, file: bytes) -> None:
    api = comfyui_answering(Response(200, file))
    with suppress(QueueAgentError):
        entry = Response(200, body).json_object()
        if (failure := failure_of(entry)) is not None:
            storable(failure)
        for found in find_outputs(entry):
            with suppress(QueueAgentError):
                settled(fetch_artifact(api, found, 1, Spool()))


@examples(300)
@given(st.lists(bodies(*EVENTS, *EVENTS[1:3]), min_size=1, max_size=4))
def test_the_events_of_comfyui(frames: list[bytes]) -> None:
    graph: dict[str, Json] = {"5": {"class_type": "KSampler", "inputs": {"steps": 20}}, "9": {}}
    tracker = ProgressTracker(graph)
    reached = 0.0
    for frame in frames:
        event = parse_event(frame.decode(errors="replace"), ID)
        progress = tracker.update(event) if event else None
        if progress:
            assert reached <= progress.fraction <= 1
            reached = progress.fraction


@examples(100)
@given(bodies(STATUS))
def test_the_progress_of_the_bundled_runtime(body: bytes) -> None:
    with suppress(QueueAgentError):
        progress = read_progress(Response(200, body).json_object())
        assert progress is None or 0 <= progress.fraction <= 1


@examples(750)
@given(st.sampled_from(STATUSES), bodies(*SMALL_ANSWERS))
def test_answers_to_the_adapters_own_questions(status: int, body: bytes) -> None:
    comfyui = comfyui_answering(Response(status, body))
    http = AnsweringAtOnce(Response(status, body))
    webui, lists, options = WebUIClient(http), ServerLists(http), ServerOptions(http)
    questions: tuple[Callable[[], Awaitable[object]], ...] = (
        webui.readiness,
        lambda: webui.sight("task", previews=LivePreviews()),
        lambda: webui.sight(None, previews=LivePreviews()),
        lambda: webui.was_hit("task"),
        webui.was_stopped,
        webui.is_fresh,
        lambda: options.check({"x": 1}),
        lambda: options.keep({"x"}, {}),
        webui.interrupt,
        lambda: find_checkpoint("a", lists),
        lambda: settle_generation(
            {"sampler_name": "a", "scheduler": "b", "prompt": "<lora:a:1>", "script_name": "x"},
            lists,
        ),
        comfyui.system_stats,
        lambda: comfyui.submit(ID, {}),
        lambda: comfyui.history(ID),
        lambda: comfyui.whereabouts(ID),
        lambda: comfyui.stop(ID),
        lambda: comfyui.choices("CheckpointLoaderSimple", "ckpt_name"),
        lambda: comfyui.upload(Asset(b"", ""), filename="a", subfolder="b", folder="input"),
    )
    for question in questions:
        with suppress(QueueAgentError):
            settled(_asked(question))


async def _asked(question: Callable[[], Awaitable[object]]) -> object:
    return await question()
