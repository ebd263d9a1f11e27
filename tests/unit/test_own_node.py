"""The mark of a busy pod whose node is watched, against an API server that tells of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from queue_agent.worker.own_node import OwnNode
from queue_agent.worker.pod_deletion_cost import PodDeletionCost

pytestmark = pytest.mark.looptime

GPU = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}
DISRUPTED = {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}
BROKEN = "broken"


@dataclass
class FakeServer:
    """Answers watches of a node, and keeps the pod's annotations."""

    taints: list[dict[str, str]] = field(default_factory=lambda: [GPU])
    status: int = 200
    is_silent: bool = False
    annotations: dict[str, str] = field(default_factory=dict)
    watches: list[httpx.URL] = field(default_factory=list)
    open: list["asyncio.Queue[str | None]"] = field(default_factory=list)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer first"
        if request.method == "GET":
            self.watches.append(request.url)
            if self.is_silent:
                await asyncio.Event().wait()
            if self.status != 200:
                return httpx.Response(self.status)
            lines: asyncio.Queue[str | None] = asyncio.Queue()
            self.open.append(lines)
            lines.put_nowait(self.event("ADDED"))
            return httpx.Response(200, content=self.stream(lines))
        for name, value in json.loads(request.content)["metadata"]["annotations"].items():
            self.annotations.pop(name, None)
            if value is not None:
                self.annotations[name] = value
        return httpx.Response(200)

    async def stream(self, lines: "asyncio.Queue[str | None]") -> AsyncIterator[bytes]:
        while (line := await lines.get()) is not None:
            if line == BROKEN:
                raise httpx.ReadError("connection reset")
            yield f"{line}\n".encode()

    def event(self, kind: str) -> str:
        spec: dict[str, Any] = {"taints": self.taints} if self.taints else {}
        return json.dumps({"type": kind, "object": {"kind": "Node", "spec": spec}})

    def say(self, *words: str | None) -> None:
        for word in words:
            self.open[-1].put_nowait(word)

    def taint(self, taints: Iterable[dict[str, str]]) -> None:
        self.taints = list(taints)
        self.say(self.event("MODIFIED"))

    @property
    def marks(self) -> tuple[bool, bool]:
        """Whether the pod is marked as busy, and for Karpenter."""
        return (
            "controller.kubernetes.io/pod-deletion-cost" in self.annotations,
            "karpenter.sh/do-not-disrupt" in self.annotations,
        )


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@asynccontextmanager
async def following(server: FakeServer, folder: Path) -> AsyncIterator[None]:
    """A busy agent."""
    token = folder / "token"
    token.write_text("first\n")
    busy, idle = asyncio.Event(), asyncio.Event()
    busy.set()
    client = httpx.AsyncClient(
        transport=httpx.MockTransport(server.answer), base_url="http://api.example"
    )
    node = OwnNode(client, name="ip-10-0-0-7", token=token)
    mark = PodDeletionCost(client, namespace="images", pod="webui-1", token=token, node=node)
    task = asyncio.create_task(mark.follow(busy=busy, idle=idle))
    await asyncio.sleep(0.1)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        await mark.aclose()


@pytest.mark.parametrize("key", ["karpenter.sh/disrupted", "karpenter.sh/disruption"])
async def test_karpenter_may_evict_a_busy_pod_as_soon_as_its_node_is_drained(
    server: FakeServer, tmp_path: Path, key: str
) -> None:
    async with following(server, tmp_path):
        assert server.marks == (True, True)
        server.taint([GPU, {"key": key, "effect": "NoSchedule"}])
        await asyncio.sleep(0.1)
        assert server.marks == (True, False), "scale-in still takes others first"
        server.taint([GPU])
        await asyncio.sleep(0.1)
        assert server.marks == (True, True), "a drain that Karpenter took back"


async def test_a_node_that_is_drained_already_lets_no_mark_be_set(
    server: FakeServer, tmp_path: Path
) -> None:
    server.taints = [DISRUPTED]
    async with following(server, tmp_path):
        assert server.marks == (True, False)


async def test_until_the_server_has_told_of_the_node_no_mark_is_set(
    server: FakeServer, tmp_path: Path
) -> None:
    server.is_silent = True
    async with following(server, tmp_path):
        await asyncio.sleep(10)
        assert server.marks == (True, False)


async def test_other_taints_and_other_events_change_nothing(
    server: FakeServer, tmp_path: Path
) -> None:
    async with following(server, tmp_path):
        server.taint([{"key": "team", "value": "karpenter.sh/disrupted", "effect": "NoSchedule"}])
        server.say('{"type": "BOOKMARK", "object": {"kind": "Node"}}', "")
        server.taint([])
        await asyncio.sleep(0.1)
        assert server.marks == (True, True)


async def test_the_own_node_alone_is_watched(server: FakeServer, tmp_path: Path) -> None:
    async with following(server, tmp_path):
        (url,) = server.watches
    assert url.path == "/api/v1/nodes"
    assert url.params["fieldSelector"] == "metadata.name=ip-10-0-0-7"
    assert url.params["watch"] == "true"


async def test_a_watch_that_ends_is_begun_anew_and_leaves_the_mark(
    server: FakeServer, tmp_path: Path
) -> None:
    async with following(server, tmp_path):
        server.say(None)
        await asyncio.sleep(0.5)
        assert server.marks == (True, True)
        await asyncio.sleep(2)
        assert len(server.watches) == 2
        server.taint([DISRUPTED])
        await asyncio.sleep(0.1)
        assert server.marks == (True, False)


@pytest.mark.parametrize("end", [BROKEN, "no JSON", '{"type": "ERROR", "object": {"code": 410}}'])
async def test_while_nothing_is_known_of_the_node_no_drain_is_held_up(
    server: FakeServer, tmp_path: Path, end: str
) -> None:
    async with following(server, tmp_path):
        server.say(end)
        await asyncio.sleep(0.1)
        assert server.marks == (True, False)
        await asyncio.sleep(5)
        assert server.marks == (True, True), "it is watched again"


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_where_nodes_may_not_be_watched_the_pod_is_not_marked_for_karpenter(
    server: FakeServer, tmp_path: Path, status: int
) -> None:
    server.status = status
    async with following(server, tmp_path):
        await asyncio.sleep(60)
        assert server.marks == (True, False)
        assert len(server.watches) < 10, "the server is not rushed"
        server.status = 200
        await asyncio.sleep(300)
        assert server.marks == (True, True)
