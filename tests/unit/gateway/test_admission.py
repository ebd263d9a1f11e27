"""A request is let in or turned away by its headers, before a byte of its body is read."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pydantic_core
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient, WebSocketDenialResponse

from gateway_bench import KEYS, Gateways, client_of
from queue_agent.gateway import bodies
from queue_agent.wire import bounded_json

ROUTES = [
    ("POST", "/v1/jobs"),
    ("POST", "/task"),
    ("POST", "/sdapi/v1/txt2img"),
    ("POST", "/sdapi/v1/img2img"),
    ("POST", "/v1/images/generations"),
    ("POST", "/generate"),
    ("POST", "/v1/jobs/a/wait"),
    ("DELETE", "/v1/jobs/a"),
    ("POST", "/v1/no/such/route"),
    ("PUT", "/v1/jobs"),
]
BODIES = ROUTES[:6]
CREDENTIALS = [{}, {"X-Api-Key": "qag_wrong"}, {"Authorization": "Basic OnFhZ193cm9uZw=="}]


async def ask(
    app: FastAPI, method: str, path: str, headers: dict[str, str], chunks: list[bytes]
) -> tuple[int, int]:
    """The status, and how many chunks of the body were taken before the answer began."""
    taken, taken_before, status = 0, 0, 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        if taken > len(chunks):
            return {"type": "http.disconnect"}
        return {
            "type": "http.request", "body": chunks[taken - 1], "more_body": taken < len(chunks),
        }  # fmt: skip

    async def send(message: Any) -> None:
        nonlocal taken_before, status
        if message["type"] == "http.response.start":
            taken_before, status = taken, message["status"]

    given = {"host": "localhost", "content-type": "application/json", **headers}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "path": path, "raw_path": path.encode(), "query_string": b"", "scheme": "http",
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "root_path": "",
    }  # fmt: skip
    await app(scope, receive, send)
    return status, taken_before


@pytest.mark.parametrize("credentials", CREDENTIALS)
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_without_a_valid_key_no_byte_is_read(
    gateways: Gateways, method: str, path: str, credentials: dict[str, str]
) -> None:
    app = await gateways.start(keys=True)
    for length in ({"content-length": "4000000"}, {"transfer-encoding": "chunked"}):
        answered = await ask(app, method, path, credentials | length, [b"[" * 1_000_000] * 4)
        assert answered == (401, 0)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_what_comes_too_often_is_not_read(gateways: Gateways, method: str, path: str) -> None:
    app = await gateways.start(keys=True, rate=1)
    key = {"X-Api-Key": KEYS["one"], "content-length": "1000"}
    await ask(app, "GET", "/v1/jobs", key, [b""])
    assert await ask(app, method, path, key, [b"[" * 1000]) == (429, 0)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_what_calls_itself_too_large_is_not_read(
    gateways: Gateways, method: str, path: str
) -> None:
    app = await gateways.start(body_limit=999)
    assert await ask(app, method, path, {"content-length": "1000"}, [b"[" * 1000]) == (413, 0)


@pytest.mark.parametrize("path", [path for _, path in BODIES])
async def test_what_is_too_large_and_does_not_say_so_is_read_no_further_than_the_limit(
    gateways: Gateways, path: str
) -> None:
    app = await gateways.start(body_limit=1999)
    status, taken = await ask(
        app, "POST", path, {"transfer-encoding": "chunked"}, [b"[" * 1000] * 100
    )
    assert (status, taken) == (413, 2)


@pytest.mark.parametrize("path", [path for _, path in BODIES])
@pytest.mark.parametrize("kind", ["lists", "objects", "numbers", "texts", "deep"])
async def test_no_route_makes_more_of_a_body_than_is_allowed(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch, path: str, kind: str
) -> None:
    parsed: list[int] = []
    monkeypatch.setattr(bounded_json, "from_json", lambda data, **_: parsed.append(len(data)))
    value = {
        "lists": "[],", "objects": "{},", "numbers": "1,", "texts": '"",', "deep": "[" * 100,
    }[kind]  # fmt: skip
    async with client_of(await gateways.start(), **{"Content-Type": "application/json"}) as client:
        answer = await client.post(path, content='{"content": {"prompt": [' + value * 100_000)
    assert (answer.status_code, parsed) == (400, [])
    assert gateways.cloud.topic("jobs").published == []


@pytest.mark.parametrize("path", [path for _, path in BODIES])
async def test_large_bodies_are_parsed_off_the_loop(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    threads: list[threading.Thread] = []

    def noting(data: bytes, **options: Any) -> Any:
        threads.append(threading.current_thread())
        return pydantic_core.from_json(data, **options)

    monkeypatch.setattr(bounded_json, "from_json", noting)
    async with client_of(await gateways.start(sync_timeout=0.01)) as client:
        small = {"content": {}, "prompt": "a"}
        await client.post(path, json=small)
        await client.post(path, json={**small, "image": "A" * 300_000})
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


async def test_only_so_many_large_bodies_are_read_at_once(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_AT_ONCE", 2)
    app, reading, full, go = await gateways.start(), 0, asyncio.Event(), asyncio.Event()
    most = 0

    async def slowly() -> AsyncIterator[bytes]:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        if reading == 2:
            full.set()
        await go.wait()
        yield json.dumps({"content": {"prompt": "a" * 300_000}}).encode()
        reading -= 1

    async with client_of(app, **{"Content-Type": "application/json"}) as client:
        tasks = [asyncio.create_task(client.post("/v1/jobs", content=slowly())) for _ in range(5)]
        await full.wait()
        small = await client.post("/v1/jobs", json={"content": {"prompt": "small"}})
        go.set()
        answers = await asyncio.gather(*tasks)
    assert small.status_code == 202
    assert [answer.status_code for answer in answers] == [202] * 5
    assert most == 2


async def test_large_bodies_share_the_memory_until_their_requests_are_answered(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_TOGETHER", 700_000)
    app = await gateways.start()
    held = gateways.cloud.faults.hold("topic.publish")
    large = {"content": {"prompt": "a" * 400_000}}
    async with client_of(app) as client:
        first = asyncio.create_task(client.post("/v1/jobs", json=large))
        await held.reached.wait()
        second = asyncio.create_task(client.post("/v1/jobs", json=large))
        small = await client.post("/v1/jobs", json={"content": {"prompt": "small"}})
        assert (small.status_code, second.done()) == (202, False)
        assert len(gateways.cloud.topic("jobs").published) == 1
        held.release()
        assert [(await task).status_code for task in (first, second)] == [202, 202]


async def test_a_large_body_that_finds_no_room_is_refused_for_now(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_TOGETHER", 700_000)
    monkeypatch.setattr(bodies, "_PATIENCE", 0.0)
    app = await gateways.start()
    held = gateways.cloud.faults.hold("topic.publish")
    large = {"content": {"prompt": "a" * 900_000}}
    async with client_of(app) as client:
        first = asyncio.create_task(client.post("/v1/jobs", json=large))
        await held.reached.wait()
        refused = await client.post("/v1/jobs", json=large)
        held.release()
        assert (await first).status_code == 202, "one is taken however large it is"
        again = await client.post("/v1/jobs", json=large)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert again.status_code == 202


@pytest.mark.parametrize("path", [path for _, path in BODIES])
async def test_a_body_that_does_not_come_is_not_waited_for(gateways: Gateways, path: str) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    app = await gateways.start(body_seconds=0.01)
    async with client_of(app, **{"Content-Type": "application/json"}) as client:
        answer = await client.post(path, content=never())
    assert answer.status_code == 408


def test_a_web_socket_is_admitted_as_any_request(gateways: Gateways) -> None:
    with TestClient(gateways.app(keys=True), base_url="http://localhost") as client:
        for path in ("/v1/jobs/a/events", "/v1/no/such/route"):
            with (
                pytest.raises(WebSocketDenialResponse) as denied,
                client.websocket_connect(path, headers={"X-Api-Key": "wrong"}),
            ):
                pass
            assert denied.value.status_code == 401
