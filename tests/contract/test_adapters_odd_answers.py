"""Whatever cog, Triton and engines for videos answer: no job is lost by it, or blamed for it."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from pydantic import JsonValue
from starlette.types import ASGIApp

from changed_answers import Answer, ChangedAnswers, changed_answers
from diffusers_servers import SteppingModel, engine_with
from fakes.cog.app import create_app as cog_app
from fakes.openai.app import create_app as openai_app
from fakes.openai.engine import Behaviour
from fakes.triton.app import FakeTriton
from queue_agent.runtime import ModelUse, Output, Runtime, RuntimeOptions
from queue_agent.testing.runtime_contract.hooks import ignore
from queue_agent.wire.errors import QueueAgentError, Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent_diffusers.http.app import create_app as bundled_app
from queue_agent_runtimes.cog import CogRuntime, predictions
from queue_agent_runtimes.openai_images import DiffusersRuntime
from queue_agent_runtimes.openai_images import bundled as bundled_images
from queue_agent_runtimes.openai_videos import OpenAIRuntime
from queue_agent_runtimes.openai_videos import adapter as videos
from queue_agent_runtimes.triton import TritonRuntime

ENDLESS = b"7" * 5000
SCRIPTED = ModelUse.named(["scripted"])
LENGTH = "inference-header-content-length"


@dataclass(frozen=True)
class Kind:
    """An adapter, its fake, and a job that it makes."""

    adapter: type[Runtime]
    app: Callable[[], ASGIApp]
    task_type: str
    content: Mapping[str, JsonValue]
    work: str
    """How the routes begin at which a job's work is asked for."""
    own: Mapping[str, JsonValue] | None = None


COG = Kind(CogRuntime, cog_app, "text-to-image", {"steps": 2}, "PUT /predictions/")
TRITON = Kind(
    TritonRuntime,
    lambda: FakeTriton(0, broken=False).app(),
    "text-to-image",
    {"steps": 1},
    "POST /v2/models/files/infer",
    {"model": "files"},
)
VIDEOS = Kind(
    OpenAIRuntime,
    lambda: openai_app("vllm-omni", Behaviour(step_seconds=0)),
    "text-to-video",
    {"frames": 4, "fps": 8, "steps": 1},
    "POST /v1/videos",
)
EACH = pytest.mark.parametrize("kind", [COG, TRITON, VIDEOS], ids=lambda kind: kind.adapter.name)
count = itertools.count()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(predictions, "SHORTEST_POLL_SECONDS", 0.001)
    monkeypatch.setattr(videos, "POLL_INTERVAL", 0.01)


@dataclass
class Served:
    """A fake whose answers may be changed, and jobs for it."""

    kind: Kind
    server: ChangedAnswers

    async def run(self) -> Output:
        """A job of its own, from readiness to its output."""
        metadata = {"id": f"job-{next(count)}", "tasktype": self.kind.task_type}
        content = {"prompt": "a cat", "seed": 1, **self.kind.content}
        job = Job.model_validate({"metadata": metadata, "content": content})
        options = RuntimeOptions(base_url=self.server.url, own=dict(self.kind.own or {}))
        runtime = self.kind.adapter(options)
        try:
            async with asyncio.timeout(60):
                await runtime.ready()
                return await runtime.run(await runtime.prepare(job, {}), ignore)
        finally:
            await runtime.aclose()

    async def failure(self) -> QueueAgentError:
        with pytest.raises(QueueAgentError) as caught:
            await self.run()
        return caught.value

    def answer(self, route: str, made: Callable[[Answer], Answer]) -> None:
        """From now on, another answer to the questions that begin so."""
        self.server.change = lambda key, answer: made(answer) if key.startswith(route) else answer

    def say(self, route: str, **fields: JsonValue) -> None:
        """From now on, other fields in those answers."""
        self.answer(route, lambda answer: answer.saying({**answer.json(), **fields}))


def with_fields(fields: Mapping[str, JsonValue]) -> Callable[[Answer], Answer]:
    """The answer with these, where it is in JSON."""

    def change(answer: Answer) -> Answer:
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return answer.saying({**answer.json(), **fields}) if is_json else answer

    return change


@asynccontextmanager
async def served(kind: Kind) -> AsyncIterator[Served]:
    async with changed_answers(kind.app()) as server:
        yield Served(kind, server)


@EACH
async def test_only_what_refuses_the_content_refuses_the_job(kind: Kind) -> None:
    refusing = {400, 413, 422} | ({404, 405} if kind is VIDEOS else set())  # no route for videos
    async with served(kind) as one:
        for status in (302, 400, 401, 404, 405, 413, 422, 429, 500, 503):
            one.answer(kind.work, lambda answer, status=status: replace(answer, status=status))  # type: ignore[misc]
            error = await one.failure()
            assert isinstance(error, Rejected) == (status in refusing), status
            assert isinstance(error, Rejected | Unavailable)


@EACH
async def test_an_answer_that_is_none_is_a_failed_attempt(kind: Kind) -> None:
    bodies = (b"", b"null", b"[]", b"{}", b"7", b"<html>", b"[" * 5000, b"\xff\xfe", b'{"a":')
    async with served(kind) as one:
        for body in (*bodies, ENDLESS):
            one.answer(kind.work, lambda _, body=body: Answer(200, body, {}))  # type: ignore[misc]
            error = await one.failure()
            assert (type(error), error.type) == (Unavailable, "invalid_answer"), body[:20]


@EACH
async def test_a_number_without_end_costs_no_output(kind: Kind) -> None:
    def with_number(answer: Answer) -> Answer:
        head = int(answer.headers.get(LENGTH, len(answer.body)))
        told = answer.body[:head].replace(b"{", b'{"own":%s,' % ENDLESS, 1)
        length = {LENGTH: str(len(told))} if LENGTH in answer.headers else {}
        return Answer(answer.status, told + answer.body[head:], {**answer.headers, **length})

    async with served(kind) as one:
        one.answer(kind.work, with_number)
        output = await one.run()
        assert output.artifacts
        assert ENDLESS.decode() not in json.dumps(output.response)
        output.close()


async def test_a_prediction_of_which_nothing_says_how_it_ended_is_no_failure_of_the_job() -> None:
    statuses: tuple[JsonValue, ...] = (None, 7, [], {}, "", "done", "succeeded?")
    async with served(COG) as one:
        for status in statuses:
            one.say("PUT /predictions/", status=status)
            error = await one.failure()
            assert (type(error), error.type) == (Unavailable, "invalid_answer"), status


async def test_the_answer_for_another_prediction_is_not_taken() -> None:
    async with served(COG) as one:
        one.say("PUT /predictions/", id="another")
        assert (await one.failure()).type == "invalid_answer"
        one.say("PUT /predictions/", id=None)
        assert (await one.run()).artifacts


@pytest.mark.parametrize("status", [202, 409])
async def test_a_server_that_never_lets_a_prediction_in_is_given_up(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_MOST_REFUSALS", {202: 3, 409: 7})
    asked = 0

    def refused(key: str, answer: Answer) -> Answer:
        nonlocal asked
        if not key.startswith("PUT /predictions/") or answer.status != 200:
            return answer
        asked += 1
        return replace(answer, status=status)

    async with served(COG) as one:
        one.server.change = refused
        assert (await one.failure()).type == "invalid_answer"
    assert asked == {202: 4, 409: 8}[status]


SELF: JsonValue = {"$ref": "#/components/schemas/Output"}


@pytest.mark.parametrize(
    "described",
    [
        SELF,
        {"type": "array", "items": SELF},
        {"type": "object", "properties": {"a": SELF, "b": SELF}, "additionalProperties": SELF},
        {"type": ["array", "null"]},
        {"type": [["a"], {}]},
        {"anyOf": [SELF, {"type": "null"}]},
    ],
)
async def test_a_model_may_describe_its_output_by_itself_or_by_several_types(
    described: JsonValue,
) -> None:
    def change(answer: Answer) -> Answer:
        document = answer.json()
        document["components"]["schemas"]["Output"] = described
        return answer.saying(document)

    async with served(COG) as one:
        one.answer("GET /openapi.json", change)
        assert (await one.run()).artifacts


@pytest.mark.parametrize("address", ["http://[::1", "http://127.0.0.1:99999/a.png", "http://a b"])
async def test_an_address_that_is_none_is_no_file_of_a_prediction(address: str) -> None:
    async with served(COG) as one:
        one.say("PUT /predictions/", output=[address])
        assert type(await one.failure()) is Unavailable


TENSOR: Mapping[str, Any] = {"name": "image", "datatype": "BYTES", "shape": [1]}


NO_TENSORS: tuple[Mapping[str, Any], ...] = (
    {"shape": [10**300] * 20},
    {"shape": [2**60, 2**60]},
    {"shape": [1] * 100_000},
    {"shape": [-5]},
    {"shape": None},
    {"datatype": "x" * 100_000},
    {"datatype": "FP32", "shape": [2**40, 2**40], "data": [1]},
    {"datatype": "FP32", "shape": [1, 1, 1, 3], "data": [10**400, 1, 1]},
    {"datatype": "UINT8", "shape": [2000, 1, 1, 3], "data": [0] * 6000},
    {"data": [None]},
    {"data": ["no base64"]},
    {"data": {"a": 1}},
    {"parameters": {"binary_data_size": -1}},
)


async def test_a_tensor_that_is_none_is_a_failed_attempt() -> None:
    async with served(TRITON) as one:
        for fields in NO_TENSORS:
            told = {"outputs": [{**TENSOR, **fields}]}
            one.answer(TRITON.work, lambda _, told=told: Answer(200, b"", {}).saying(told))  # type: ignore[misc]
            error = await one.failure()
            assert isinstance(error, Unavailable), fields
            assert error.type in {"invalid_answer", "answer_too_large"}, fields
            assert len(error.message) < 1000


async def test_the_answer_to_another_inference_is_not_taken() -> None:
    def of_another(answer: Answer) -> Answer:
        return replace(answer, body=answer.body.replace(b'"id":"job-', b'"id":"jab-', 1))

    async with served(TRITON) as one:
        one.answer(TRITON.work, of_another)
        assert (await one.failure()).type == "invalid_answer"


async def test_an_answer_for_which_no_inference_is_named_is_taken() -> None:
    def of_none(answer: Answer) -> Answer:
        begin, _, rest = answer.body.partition(b'"id":"')
        name, _, rest = rest.partition(b'"')
        return replace(answer, body=begin + b'"id":' + b"null".ljust(len(name) + 2) + rest)

    async with served(TRITON) as one:
        one.answer(TRITON.work, of_none)
        assert (await one.run()).artifacts


@pytest.mark.parametrize(
    "described",
    [{}, {"inputs": [], "outputs": []}, {"inputs": [{"name": "prompt"}], "outputs": [7]},
     {"inputs": [{"name": "prompt", "datatype": "BYTES", "shape": [10**300]}], "outputs": []}],
)  # fmt: skip
async def test_a_model_that_is_not_described_is_no_jobs_fault(described: JsonValue) -> None:
    async with served(TRITON) as one:
        one.answer("GET /v2/models/files", lambda answer: answer.saying(described))
        assert (await one.failure()).type == "invalid_answer"


@pytest.mark.parametrize("told", [None, "a", [], [None, 7, {"name": ["prompt"]}], {"a": 1}])
async def test_a_configuration_that_tells_nothing_of_the_inputs_asks_for_none(
    told: JsonValue,
) -> None:
    async with served(TRITON) as one:
        one.say("GET /v2/models/files/config", input=told)
        assert (await one.run()).artifacts


@pytest.mark.parametrize("route", ["POST /v1/videos", "GET /v1/videos/"])
async def test_a_record_that_is_none_is_no_jobs_fault(route: str) -> None:
    statuses: tuple[JsonValue, ...] = (None, [], {}, 7, "", "odd")
    ids: tuple[JsonValue, ...] = (None, 7, ["a"], "", "../models", "a?b", "a" * 5000)
    async with served(VIDEOS) as one:
        for fields in (*({"status": told} for told in statuses), *({"id": told} for told in ids)):
            one.answer(route, with_fields(fields))
            error = await one.failure()
            assert (type(error), error.type) == (Unavailable, "invalid_answer"), fields
        assert "GET /v1/videos/../models" not in one.server.asked


async def test_the_record_of_another_job_is_not_taken() -> None:
    async with served(VIDEOS) as one:
        one.say("GET /v1/videos/", id="another")
        assert (await one.failure()).type == "invalid_answer"


ODD_FIELDS: tuple[dict[str, JsonValue], ...] = (
    {"progress": 10**400}, {"progress": "half"}, {"progress": -7}, {"num_outputs": 10**30},
    {"num_outputs": True}, {"urls": {"a": 1}}, {"urls": [None]}, {"warnings": [None, {"a": 1}]},
    {"step": 10**300, "steps": -1}, {"format": ["mp4"]}, {"error": [1]}, {"previews": 10**300},
)  # fmt: skip


async def test_fields_of_other_kinds_in_a_record_cost_no_video() -> None:
    async with served(VIDEOS) as one:
        for fields in ODD_FIELDS:
            one.answer("GET /v1/videos/", with_fields(fields))
            output = await one.run()
            assert [made.media_type for made in output.artifacts] == ["video/mp4"], fields
            output.close()


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999/x", "//[", "http://\x00"])
async def test_a_video_that_lies_nowhere_is_no_jobs_fault(url: str) -> None:
    async with served(VIDEOS) as one:
        one.answer("GET /v1/videos/", with_fields({"url": url}))
        assert isinstance(await one.failure(), Unavailable)


@pytest.fixture
async def bundled() -> AsyncIterator[tuple[ChangedAnswers, DiffusersRuntime]]:
    """The bundled server, around a model that paints, and its adapter."""
    with engine_with(SteppingModel()) as engine:
        async with changed_answers(bundled_app(engine)) as server:
            runtime = DiffusersRuntime(RuntimeOptions(base_url=server.url))
            try:
                yield server, runtime
            finally:
                await runtime.aclose()


async def test_no_question_of_the_bundled_adapter_blames_a_job(
    bundled: tuple[ChangedAnswers, DiffusersRuntime],
) -> None:
    server, runtime = bundled
    await runtime.loaded()
    questions: tuple[Callable[[], Awaitable[object]], ...] = (
        runtime.loaded,
        runtime.capabilities,
        lambda: runtime.preload(SCRIPTED),
    )
    for status, question in itertools.product((400, 404, 409, 422, 500), questions):
        server.change = lambda _, answer, status=status: replace(answer, status=status)  # type: ignore[misc]
        with suppress(Unavailable):
            await question()


@pytest.mark.parametrize(
    ("told", "places"),
    [(3, 3), (10**9, 256), (10**300, 256), (0, 1), (-1, 1), ("a", 1), ([4], 1), (None, 1)],
)
async def test_nobody_is_believed_to_work_on_any_number_of_jobs(
    bundled: tuple[ChangedAnswers, DiffusersRuntime], told: JsonValue, places: int
) -> None:
    server, runtime = bundled
    server.change = lambda _, answer: answer.saying({**answer.json(), "max_batch": told})
    assert await runtime.ready()
    assert runtime.concurrency == places


async def test_what_the_bundled_runtime_says_of_a_job_under_way_may_be_odd(
    bundled: tuple[ChangedAnswers, DiffusersRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled_images, "POLL_INTERVAL", 0.002)
    server, runtime = bundled
    several: tuple[JsonValue, ...] = (
        7, [], {}, {"progress": "a", "previews": [1]}, {"progress": 10**300, "step": -1},
        {"progress": None, "previews": 10**300}, {"progress": True, "steps": {}, "status": []},
    )  # fmt: skip
    content = {"prompt": "a cat", "steps": 30, "width": 64, "height": 64}
    for number, said in enumerate(several):
        job = Job.model_validate(
            {"metadata": {"id": f"b-{number}", "tasktype": "text-to-image"}, "content": content}
        )
        server.change = lambda key, answer, said=said: (  # type: ignore[misc]
            Answer(200, b"", {}).saying(said) if key.startswith("GET /v1/jobs/") else answer
        )
        output = await runtime.run(await runtime.prepare(job, {}), ignore)
        assert len(output.artifacts) == 1, said
