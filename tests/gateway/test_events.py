"""Live news of jobs: many listeners, several gateways, none of them special."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx
from websockets.asyncio.client import connect

from gateway_site import Content, Site, client_of, finished
from harness import PATIENCE
from queue_agent.testing.process import ServerProcess


async def views_of(api: httpx.AsyncClient, job_id: str) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream as they come, until the server ends it."""
    async with api.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


async def events_of(api: httpx.AsyncClient, job_id: str) -> list[dict[str, Any]]:
    """All events of a stream."""
    return [view async for view in views_of(api, job_id)]


async def submit(api: httpx.AsyncClient, content: dict[str, Any]) -> str:
    answer = await api.post("/v1/jobs", json={"content": content})
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


async def test_a_stream_tells_progress_that_never_falls_and_ends_with_the_job(
    api: httpx.AsyncClient, content: Content
) -> None:
    ahead = await submit(api, content("ahead", steps=1000, n_iter=20))
    job_id = await submit(api, content("streamed", steps=300))
    views: list[dict[str, Any]] = []
    async for view in views_of(api, job_id):
        if not views:  # somebody watches: now its turn may come
            assert (await api.delete(f"/v1/jobs/{ahead}")).status_code == 202
        views.append(view)
    progress = [view["progress"] for view in views if view["progress"] is not None]
    assert progress == sorted(progress)
    assert len(progress) > 2
    assert views[-1]["status"] == "completed"
    (again,) = await events_of(api, job_id)
    assert again["status"] == "completed"


async def test_a_websocket_tells_the_same(
    gateway: ServerProcess, api: httpx.AsyncClient, content: Content
) -> None:
    job_id = await submit(api, content("by socket", steps=20))
    url = f"ws://127.0.0.1:{gateway.port}/v1/jobs/{job_id}/events"
    async with connect(url, open_timeout=PATIENCE) as socket:
        views = [json.loads(message) async for message in socket]
    assert views[-1]["status"] == "completed"
    assert socket.close_code == 1000


async def test_five_hundred_streams_at_once_all_hear_the_end(
    api: httpx.AsyncClient, content: Content
) -> None:
    job_id = await submit(api, content("watched", steps=150))
    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(events_of(api, job_id)) for _ in range(500)]
    assert [task.result()[-1]["status"] for task in watching] == ["completed"] * 500


async def test_a_job_is_answered_by_another_gateway_when_its_own_is_killed(
    site: Site, gateway: ServerProcess, api: httpx.AsyncClient, content: Content
) -> None:
    doomed = site.start_gateway()
    async with client_of(doomed) as first:
        job_id = await submit(first, content("handed over", steps=100))
        doomed.kill()
    views = await events_of(api, job_id)
    assert views[-1]["status"] == "completed"
    listed = (await api.get("/v1/jobs", params={"limit": 1})).json()["jobs"]
    assert listed[0]["id"] == job_id


async def test_a_restarted_gateway_knows_every_job(
    site: Site, api: httpx.AsyncClient, content: Content
) -> None:
    job_id = await submit(api, content(f"kept {secrets.token_hex(2)}"))
    before = await finished(api, job_id)
    fresh = site.start_gateway()
    async with client_of(fresh) as later:
        after = (await later.get(f"/v1/jobs/{job_id}")).json()
    fresh.stop()
    for view in (before, after):
        view["images"][0].pop("presigned_url")
    assert after == before
