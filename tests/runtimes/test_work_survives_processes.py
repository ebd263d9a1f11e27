"""A pod ends in the middle of a job; another one goes on, to the same pictures.

Agents and servers are processes, and end as pods do. Nobody waits for a moment: what the server
says that it has done, and what lies in the bucket, tell when to end them.
"""

import asyncio
import base64
import io
import re
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import av
import httpx
import pytest
from PIL import Image

from diffusers_servers import tiny_server, tiny_video_server
from faults.rig import BRIEF
from harness import JsonObject, Scene, scene, until
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.nats import NatsServer
from queue_agent.testing.process import ServerProcess

STEPS = 300
"""So many that nobody comes too late to end a job before its last one."""
EVERY = 10
CONTENT: JsonObject = {
    "prompt": "a lighthouse",
    "seed": 7,
    "steps": STEPS,
    "width": 64,
    "height": 64,
}


VIDEO: JsonObject = {**CONTENT, "frames": 5, "fps": 8}


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(params=["aws", "nats"])
def cloud(request: pytest.FixtureRequest) -> EmbeddedCloud | NatsServer:
    name = "nats" if request.param == "nats" else "embedded_cloud"
    found: EmbeddedCloud | NatsServer = request.getfixturevalue(name)
    return found


@pytest.fixture
def ending() -> Iterator[ServerProcess]:
    """The server of the pod that ends."""
    with tiny_server() as server:
        yield server


@pytest.fixture
async def stage(cloud: EmbeddedCloud | NatsServer, tmp_path: Path) -> AsyncIterator[Scene]:
    """Messages of killed agents come back soon."""
    name = f"pods-{secrets.token_hex(4)}"
    settings = {"QUEUE_AGENT_RUNTIME": "diffusers", "QUEUE_AGENT_SHUTDOWN_GRACE": "0"}
    async with scene(cloud, name, tmp_path, settings, visibility_timeout=BRIEF) as opened:
        yield opened


def counted(server: ServerProcess, metric: str) -> float:
    """What a server or an agent has counted so far."""
    told = httpx.get(f"{server.url}/metrics", timeout=60).text
    found = re.findall(rf"^{metric}(?:{{.*}})? (\S+)$", told, re.MULTILINE)
    return sum(map(float, found))


async def checkpoints(stage: Scene) -> list[str]:
    return [key for key in await stage.bucket_keys() if key.startswith("checkpoints/")]


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.tobytes()


def frames(data: bytes) -> bytes:
    with av.open(io.BytesIO(data), "r") as played:
        return b"".join(frame.to_ndarray().tobytes() for frame in played.decode(video=0))


@pytest.fixture(scope="module")
def undisturbed(server: ServerProcess) -> list[bytes]:
    """What a server makes of the same, when it is asked without an agent."""
    asked = {
        "prompt": CONTENT["prompt"],
        "seed": CONTENT["seed"],
        "num_inference_steps": STEPS,
        "size": "64x64",
    }
    answer = httpx.post(f"{server.url}/v1/images/generations", json=asked, timeout=300)
    return [pixels(base64.b64decode(image["b64_json"])) for image in answer.json()["data"]]


async def begun(
    stage: Scene, server: ServerProcess, *, video: bool = False, **settings: str
) -> ServerProcess:
    """An agent at whose server the job is under way."""
    before = counted(server, "diffusers_steps_total")
    agent = stage.start_agent(QUEUE_AGENT_RUNTIME_URL=server.url, **settings)
    kind, content = ("text-to-video", VIDEO) if video else ("text-to-image", CONTENT)
    await stage.publish(stage.job("taken-up", content, tasktype=kind))
    await steps_after(server, before)
    return agent


async def steps_after(server: ServerProcess, before: float) -> None:
    """Wait until some more were taken."""

    async def stepping() -> bool:
        return counted(server, "diffusers_steps_total") > before + EVERY

    await until(stepping, what="steps of the job")


async def assert_another_pod_goes_on(
    stage: Scene,
    server: ServerProcess,
    expected: list[bytes],
    seen: Callable[[bytes], bytes] = pixels,
    *,
    attempt: int = 2,
) -> None:
    before = counted(server, "diffusers_rows_total")
    agent = stage.start_agent(QUEUE_AGENT_RUNTIME_URL=server.url)
    answer = await stage.answer("taken-up")
    assert answer["status"] == "completed", answer
    assert answer["attempt"] == attempt
    saved = counted(agent, "queue_agent_saved_steps_total")
    assert 0 < saved < STEPS
    rows = counted(server, "diffusers_rows_total") - before
    left = STEPS - saved
    assert rows in {left, 2 * left, 2 * left - 1}, "only the others, or the other half of one"
    assert [seen(await stage.read(url)) for url in answer["image_url"]] == expected
    await stage.emptied()

    async def removed() -> bool:
        return not await checkpoints(stage)

    await until(removed, what="the checkpoint's removal")


async def test_a_pod_told_to_end_leaves_its_job_for_another_pod_to_go_on_with(
    stage: Scene, ending: ServerProcess, server: ServerProcess, undisturbed: list[bytes]
) -> None:
    agent = await begun(stage, ending)
    assert await checkpoints(stage) == []
    for process in (ending, agent):
        process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(agent.wait) == 0
    assert await asyncio.to_thread(ending.wait) == -signal.SIGTERM, (
        "by itself, once it has no work left"
    )
    assert len(await checkpoints(stage)) == 1
    assert stage.answers("taken-up") == []
    await assert_another_pod_goes_on(stage, server, undisturbed)


async def test_a_killed_pod_leaves_what_was_kept_for_another_pod_to_go_on_with(
    stage: Scene, ending: ServerProcess, server: ServerProcess, undisturbed: list[bytes]
) -> None:
    agent = await begun(stage, ending, QUEUE_AGENT_CHECKPOINT_EVERY=str(EVERY))

    async def kept() -> bool:
        return bool(await checkpoints(stage))

    await until(kept, what="a checkpoint")
    for process in (ending, agent):
        process.kill()
    assert stage.answers("taken-up") == []
    await assert_another_pod_goes_on(stage, server, undisturbed)


async def undisturbed_video(server: ServerProcess) -> bytes:
    asked = {name: VIDEO[name] for name in ("prompt", "seed", "fps")}
    fields = {**asked, "num_inference_steps": STEPS, "size": "64x64", "num_frames": 5}
    async with httpx.AsyncClient(base_url=server.url, timeout=300) as client:
        video = (await client.post("/v1/videos", json=fields)).json()

        async def made() -> bool:
            record = (await client.get(f"/v1/videos/{video['id']}")).json()
            return bool(record["status"] == "completed")

        await until(made, what="the video")
        return (await client.get(f"/v1/videos/{video['id']}/content")).content


@pytest.mark.parametrize("cloud", ["aws"], indirect=True)
async def test_a_video_is_gone_on_with_after_an_agents_kill_and_anothers_end(stage: Scene) -> None:
    with tiny_video_server() as server:
        expected = frames(await undisturbed_video(server))
        killed = await begun(stage, server, video=True, QUEUE_AGENT_CHECKPOINT_EVERY=str(EVERY))

        async def kept() -> bool:
            return bool(await checkpoints(stage))

        await until(kept, what="a checkpoint")
        killed.kill()
        taken = counted(server, "diffusers_steps_total")
        told = stage.start_agent(QUEUE_AGENT_RUNTIME_URL=server.url)

        async def goes_on() -> bool:
            return bool(counted(server, "diffusers_steps_resumed_total"))

        await until(goes_on, what="a job that is taken up")
        await steps_after(server, taken)
        told.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(told.wait) == 0
        assert len(await checkpoints(stage)) == 1
        await assert_another_pod_goes_on(stage, server, [expected], frames, attempt=3)
