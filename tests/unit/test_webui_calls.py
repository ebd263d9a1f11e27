"""Whom an interrupt puts in doubt, where several calls are at the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from queue_agent.runtime import RuntimeOptions
from queue_agent.runtime.http import Response
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.webui.calls import GenerationCalls, WebUIPrepared
from queue_agent_runtimes.webui.client import WebUIClient
from queue_agent_runtimes.webui.start import StartAwareClient


class Answer:
    """A successful one without images."""

    ok = True

    async def json_object(self, _: object) -> dict[str, Any]:
        return {"images": []}


class Pieces(list[bytes]):
    """What a body is written to."""

    async def write(self, piece: bytes) -> None:
        self.append(piece)


class Server(StartAwareClient):
    """Holds its generations until it is told to answer; says of tasks what it is told to."""

    def __init__(self) -> None:
        super().__init__(RuntimeOptions(), "http://127.0.0.1:1", lambda: None)
        self.tasks: list[str] = []
        self.may_answer: list[asyncio.Event] = []
        self.active: int | None = None
        self.over: set[int] = set()
        self.both_came, self.interrupted = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def stream(self, *_: object, **given: Any) -> AsyncIterator[Any]:
        pieces = Pieces()
        await given["body"].write(pieces)
        text = b"".join(pieces).decode()
        self.tasks.append(text.partition('"force_task_id":"')[2].partition('"')[0])
        self.may_answer.append(asyncio.Event())
        if len(self.tasks) == 2:
            self.both_came.set()
        await self.may_answer[-1].wait()
        yield Answer()

    async def send(self, method: str, path: str, **given: Any) -> Response:
        del method
        if path == "/sdapi/v1/interrupt":
            self.active = None  # it had ended before the interrupt came
            self.interrupted.set()
            return Response(200, b"{}")
        if path == "/internal/progress":
            task = self.tasks.index(given["json"]["id_task"])
            said = (task == self.active, task in self.over)
            words = f'{{"active": {str(said[0]).lower()}, "completed": {str(said[1]).lower()}}}'
            return Response(200, words.encode())
        hit = str(self.interrupted.is_set()).lower()
        return Response(200, f'{{"state": {{"interrupted": {hit}, "job_count": 1}}}}'.encode())


def prepared() -> WebUIPrepared:
    job = Job.model_validate(
        {"metadata": {"id": "job-1", "tasktype": "text-to-image"}, "content": {"prompt": "x"}}
    )
    return WebUIPrepared(job, {"prompt": "x"}, (), "/sdapi/v1/txt2img", {})


@pytest.mark.looptime
@pytest.mark.parametrize("over", [True, False])
async def test_a_run_that_is_over_is_not_in_doubt_by_an_interrupt_of_the_next(over: bool) -> None:
    server = Server()
    client = WebUIClient(server)
    client.knows_tasks = True
    calls = GenerationCalls(server, client)
    first = asyncio.create_task(calls.make(prepared(), lambda _: None))
    second = asyncio.create_task(calls.make(prepared(), lambda _: None))
    async with asyncio.timeout(5):
        await server.both_came.wait()
    server.active, server.over = 1, {0} if over else set()
    second.cancel()
    await server.interrupted.wait()
    server.may_answer[0].set()
    server.may_answer[1].set()
    if over:
        assert (await first).value == {"images": []}
    else:
        with pytest.raises(Unavailable, match="interrupted"):
            await first
    await asyncio.gather(second, return_exceptions=True)
    await calls.aclose()
