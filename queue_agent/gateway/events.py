"""A job's news as they come: server-sent events, and the same by WebSocket.

Each event is the whole job as `GET /v1/jobs/{id}` shows it, the first at once, the last with the
end; so a client that lost its connection only has to come again.
Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, Final

from fastapi import APIRouter, WebSocket
from fastapi.responses import StreamingResponse
from starlette.websockets import WebSocketDisconnect

from queue_agent.gateway.dependencies import CallerPart, GatewayPart, caller_of, gateway_of
from queue_agent.gateway.keys import SUBPROTOCOL
from queue_agent.gateway.problems import documented, render
from queue_agent.gateway.records import Record
from queue_agent.gateway.schemas import JobView
from queue_agent.gateway.service import JobService
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.problems import Problem, ProblemDetails, problem_of

_HEARTBEAT: Final = 15.0
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

router = APIRouter(tags=["events"])


@router.get(
    "/v1/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        **documented(ProblemDetails),
        200: {"content": {"text/event-stream": {}}, "description": "Events named by the status."},
    },
)
async def stream_events(job_id: str, gateway: GatewayPart, caller: CallerPart) -> StreamingResponse:
    """The job with each change, as server-sent events."""
    record = await gateway.service.find(caller, job_id)
    return StreamingResponse(
        _events(gateway.service, record), media_type="text/event-stream", headers=_HEADERS
    )


@router.websocket("/v1/jobs/{job_id}/events")
async def send_events(socket: WebSocket, job_id: str) -> None:
    """The job with each change, one text message each; closed after the last."""
    await relay(socket, job_id, JobView.model_dump_json)


async def relay(socket: WebSocket, job_id: str, text_of: Callable[[JobView], str]) -> None:
    """Send one of the caller's jobs with each change that its text shows, until its end.

    A job that is not there is answered in the dialect of the path, in the place of the connection.
    """
    gateway = gateway_of(socket)
    try:
        record = await gateway.service.find(caller_of(socket), job_id)
    except (Problem, QueueAgentError) as error:
        problem = error if isinstance(error, Problem) else problem_of(error)
        request_id = str(socket.state.request_id)
        await socket.send_denial_response(
            render(problem, path=socket.url.path, request_id=request_id)
        )
        return
    offered = socket.scope.get("subprotocols", ())
    keyed = [protocol for protocol in offered if protocol.startswith(SUBPROTOCOL)]
    await socket.accept(subprotocol=keyed[0] if keyed else None)
    texts = _texts(gateway.service, record, text_of)
    await _either(_send_texts(socket, texts), _until_gone(socket))


async def _texts(
    service: JobService, record: Record, text_of: Callable[[JobView], str]
) -> AsyncGenerator[str]:
    """What is told of the job, each time that it is something new."""
    last = None
    async with aclosing(service.views(record)) as views:
        async for view in views:
            if view is not None and (text := text_of(view)) != last:
                last = text
                yield text


async def _send_texts(socket: WebSocket, texts: AsyncGenerator[str]) -> None:
    with suppress(WebSocketDisconnect):
        async with aclosing(texts):
            async for text in texts:
                await socket.send_text(text)
        await socket.close()


async def _events(service: JobService, record: Record) -> AsyncIterator[str]:
    """Bodies of events; a comment now and then keeps proxies from closing the connection."""
    said = time.monotonic()
    yield "retry: 2000\n\n"
    async with aclosing(service.views(record)) as views:
        async for view in views:
            if view is not None:
                yield f"event: {view.status}\ndata: {view.model_dump_json()}\n\n"
            elif time.monotonic() - said > _HEARTBEAT:
                yield ": still here\n\n"
            else:
                continue
            said = time.monotonic()


async def _until_gone(socket: WebSocket) -> None:
    """Wait for the client to go; its words are ignored."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _either(*works: Coroutine[Any, Any, None]) -> None:
    """Wait for the first to end, and end the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()
