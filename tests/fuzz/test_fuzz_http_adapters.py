"""Whatever a job holds and a declared server answers: a request of the declared shape, an output,
or an error of ours.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from fuzz.fuzzing import Json, examples, json_values
from fuzz.test_fuzz_answers import ENCODED, STATUSES, Answering, bodies, storable
from queue_agent.runtime import RuntimeOptions
from queue_agent.runtime.http import Response, StreamedResponse
from queue_agent.wire.errors import QueueAgentError, Rejected, RunLost
from queue_agent.wire.job import Job
from queue_agent_runtimes.http import HttpRuntime
from queue_agent_runtimes.http.bodies import request_of
from queue_agent_runtimes.http.loading import load_declaration, shipped_declarations
from queue_agent_runtimes.http.values import check_places, values_of

ANSWERS: Final[tuple[JsonValue, ...]] = (
    [{"image": ENCODED}],
    {"output": ENCODED, "elapsed_time": "1 sec"},
    {"code": 503, "type": "InternalServerException", "message": "Prediction failed"},
    {
        "job_id": "a",
        "job_stage": "SUCCESS",
        "job_progress": 100,
        "job_result": [{"base64": ENCODED, "seed": "7", "finish_reason": "SUCCESS"}],
    },
    {"job_id": "a", "job_stage": "ERROR", "job_result": None},
    {
        "item_ids": [7],
        "item_id": 7,
        "status": "completed",
        "session": {"results": {"a": {"image": {"image_name": "a.png"}}}},
    },
)
FIELDS: Final = (
    *("prompt", "negative_prompt", "steps", "cfg_scale", "width", "height", "seed", "scheduler"),
    *("styles", "model", "init_images", "denoising_strength", "override_settings", "x"),
)
QUESTIONS: Final = 6
names = st.sampled_from(sorted(shipped_declarations()))


class AnsweringAWhile(Answering):
    """Gone after some questions, or a run that never ends were polled for ever."""

    asked = 0

    @asynccontextmanager
    async def stream(self, *_: Any, **__: Any) -> AsyncIterator[StreamedResponse]:
        self.asked += 1
        if self.asked > QUESTIONS:
            raise RunLost("gone")
        async with super().stream() as answer:
            yield answer


@examples(60)
@given(names, st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=5))
def test_what_is_sent_has_the_declared_shape(name: str, content: Json) -> None:
    for task in load_declaration(name).tasks.values():
        try:
            check_places(task, content)
            found = values_of(task, content, {}, switch_models=True)
            request = request_of(task.request, {**found.values, "run_id": "r", "job_id": "j"})
        except Rejected as error:
            storable(error)
            continue
        assert request.path == task.request.path
        assert isinstance(request.content, dict)
        assert isinstance(task.request.json_body, dict)
        assert request.content.keys() <= task.request.json_body.keys()


@examples(60)
@given(names, st.sampled_from(STATUSES), bodies(*ANSWERS))
def test_answers_of_declared_servers(name: str, status: int, body: bytes) -> None:
    asyncio.run(_run(name, Response(status, body)))


async def _run(name: str, answer: Response) -> None:
    runtime = HttpRuntime(RuntimeOptions(own={"adapter": name}))
    runtime._exchange.client = AnsweringAWhile(answer)
    if runtime.declaration.polling is not None:
        faster = runtime.declaration.polling.model_copy(update={"interval": 0.0})
        runtime._runs._declaration = runtime.declaration.model_copy(update={"polling": faster})
    job = Job.model_validate(
        {"metadata": {"id": "job", "tasktype": "text-to-image"}, "content": {"prompt": "a"}}
    )
    prepared = await runtime.prepare(job, {})
    await runtime.ready()
    try:
        output = await runtime.run(prepared, lambda _: None)
        assert output.artifacts
    except QueueAgentError as error:
        storable(error)
    await runtime.aclose()
