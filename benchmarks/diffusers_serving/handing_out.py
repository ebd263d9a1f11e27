"""How long it takes from SIGTERM until what was done of running jobs can be kept elsewhere.

The server is a process with the model, as in a pod; clients have jobs under way, and who is to
keep what was done asks for all of it at the moment of the signal, as an agent beside it does.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import httpx

from benchmarks.diffusers_serving.loads import Jobs
from queue_agent.testing.process import ServerProcess
from queue_agent_diffusers.engine.checkpoint import read_head
from queue_agent_diffusers.engine.requests import ImageRequest

DONE_BEFORE: Final = 20
"""Steps that the foremost job has taken when the signal comes."""
_STEPS: Final = 500
"""Of each job: so many that none is done by then."""
_PAUSE: Final = 0.05
"""Seconds between two looks at the server."""


@dataclass(frozen=True)
class HandedOut:
    """What became of running jobs; seconds are counted from the signal."""

    clients: int
    checkpoints: int
    """Jobs that wait for room in the batch have none."""
    predictions: float
    """In one of them: of each step one, as guidance is a part of it; the median."""
    megabytes: float
    """Size of one of them, of 10⁶ bytes; the median."""
    first_seconds: float
    """Until the first one was had, and `last_seconds` until all were."""
    last_seconds: float
    end_seconds: float
    """Until the server had ended."""


async def hand_out(
    folder: Path, options: Sequence[str], jobs: Jobs, clients: int, seconds: float
) -> HandedOut:
    """Serve the model in the folder, give it a job of each client, and end it meanwhile.

    Raises:
        TimeoutError: it took more than so many seconds.
        RuntimeError: the server ended, or nothing was handed out.
    """
    command = [sys.executable, "-m", "queue_agent_diffusers", "--model", str(folder), *options]
    log = folder.with_name(f"{folder.name}.log")
    server = ServerProcess([*command, "--port", "{port}"], log=log)
    server.spawn()
    try:
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(
                base_url=server.url,
                timeout=seconds,
                trust_env=False,
                limits=httpx.Limits(max_connections=None),
            ) as client,
        ):
            await _until_loaded(server, client)
            return await _ended_at_work(server, client, jobs, clients)
    finally:
        server.kill()
        log.unlink(missing_ok=True)


async def _until_loaded(server: ServerProcess, client: httpx.AsyncClient) -> None:
    while True:
        try:
            if (await client.get("/health")).is_success:
                return
        except httpx.TransportError:
            _check(server)
        await asyncio.sleep(_PAUSE)


async def _ended_at_work(
    server: ServerProcess, client: httpx.AsyncClient, jobs: Jobs, clients: int
) -> HandedOut:
    requests = jobs.requests(0)
    names = [f"client-{number}" for number in range(clients)]
    asked = [asyncio.create_task(_ask(client, name, next(requests))) for name in names]
    try:
        await _until_at_work(client, asked)
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*(_suspend(client, name, began) for name in names))
        await asyncio.gather(*asked, return_exceptions=True)
    finally:
        for task in asked:
            task.cancel()
    await asyncio.to_thread(server.wait)
    ended = time.monotonic() - began
    had = [answer for answer in answers if answer is not None]
    if not had:
        raise RuntimeError("nothing was handed out")
    moments = [moment for _, moment in had]
    return HandedOut(
        clients=clients,
        checkpoints=len(had),
        predictions=median(read_head(data).predictions for data, _ in had),
        megabytes=median(len(data) for data, _ in had) / 1e6,
        first_seconds=min(moments),
        last_seconds=max(moments),
        end_seconds=ended,
    )


async def _ask(client: httpx.AsyncClient, name: str, wanted: ImageRequest) -> None:
    """For an image that is not to come; raises RuntimeError where it is refused before the end."""
    fields = {
        "prompt": wanted.prompt,
        "seed": wanted.seed,
        "size": f"{wanted.width}x{wanted.height}",
        "num_inference_steps": _STEPS,
        "guidance_scale": wanted.guidance_scale,
    }
    answer = await client.post(
        "/v1/images/generations", json=fields, headers={"X-Request-Id": name}
    )
    raise RuntimeError(f"a job was answered with {answer.status_code}: {answer.text[:200]}")


async def _until_at_work(client: httpx.AsyncClient, asked: Sequence[asyncio.Task[None]]) -> None:
    """All that run have begun, and the foremost has taken its steps."""
    while True:
        for task in asked:
            if task.done():
                task.result()
        held = (await client.get("/v1/jobs")).json()["data"]
        running = [job["step"] for job in held if job["status"] == "running"]
        if len(held) == len(asked) and running and min(running) and max(running) >= DONE_BEFORE:
            return
        await asyncio.sleep(_PAUSE)


async def _suspend(
    client: httpx.AsyncClient, name: str, began: float
) -> tuple[bytes, float] | None:
    answer = await client.post(f"/v1/jobs/{name}/suspend")
    answer.raise_for_status()
    return (answer.content, time.monotonic() - began) if answer.content else None


def _check(server: ServerProcess) -> None:
    if not server.lives:
        server.wait_until_listening()  # which says why it ended
