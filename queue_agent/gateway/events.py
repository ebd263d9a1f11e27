"""A job's news as they come: server-sent events, and the same by WebSocket.

Each event is the whole job as `GET /v1/jobs/{id}` shows it, the first at once, the last with the
end; so a client that lost its connection only has to come again.
Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, suppress
from typing import Any, Final

from fastapi import APIRouter, WebSocket
from fastapi.responses import StreamingResponse
from starlette.websockets import WebSocketDisconnect

from queue_agent.gateway.dependencies import CallerPart, GatewayPart, caller_of, gateway_of
from queue_agent.gateway.keys import SUBPROTOCOL
from queue_agent.gateway.problems import documented, render
from queue_agent.gateway.records import Record
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
    await _either(_send_views(socket, gateway.service, record), _until_gone(socket))


async def _send_views(socket: WebSocket, service: JobService, record: Record) -> None:
    with suppress(WebSocketDisconnect):
        async with aclosing(service.views(record)) as views:
            async for view in views:
                if view is not None:
                    await socket.send_text(view.model_dump_json())
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
