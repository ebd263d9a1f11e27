"""Processes that convert: bounded in time and memory, and replaced when they are lost."""

import asyncio
import os
from pathlib import Path

import pytest

from confined_works import (
    Parcel,
    busy,
    greedy,
    identity,
    killed,
    parcel,
    printing,
    refusing,
    shouting,
    stuck,
    text,
    variables,
    way_out,
    without_room,
    writing,
)
from output_samples import gradient, opened, planted_png
from queue_agent.media.asset import Asset
from queue_agent.media.confined import Bounds, ConfinedProcess
from queue_agent.outputs import (
    Conversion,
    ConversionPolicy,
    Order,
    OutputStage,
    WorkerLost,
    WorkerProcesses,
    files,
)
from queue_agent.runtime import Artifact
from queue_agent.wire.job import parse_job
from video_files import video

MEMORY = 256 * 2**20
BODY = """{"metadata": {"id": "a", "tasktype": "text-to-image",
  "output": {"format": "webp", "thumbnail": true}}, "content": {}}"""

FILM = """{"metadata": {"id": "b", "tasktype": "text-to-video",
  "output": {"format": "webm", "thumbnail": true, "metadata": "strip"}}, "content": {}}"""


async def test_a_process_is_kept_replaced_when_killed_and_stopped_when_stuck() -> None:
    workers = WorkerProcesses(1, time_limit=60, memory=MEMORY)
    first = await workers.do(identity)
    assert first != os.getpid()
    assert await workers.do(identity) == first
    with pytest.raises(WorkerLost, match="memory"):
        await workers.do(greedy, 2 * MEMORY)
    with pytest.raises(ValueError, match="no"):
        await workers.do(refusing, raises=(ValueError,))
    with pytest.raises(WorkerLost, match=r"failed .* \(ValueError\)"):
        await workers.do(refusing)
    assert await workers.do(identity) == first
    with pytest.raises(WorkerLost, match="ended the process"):
        await workers.do(killed)
    second = await workers.do(identity)
    assert second != first
    with pytest.raises(WorkerLost, match=r"0\.2 s"):
        await WorkerProcesses(1, time_limit=0.2, memory=MEMORY).do(stuck)


async def test_a_process_is_given_nothing_of_the_environment_that_it_need_not_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "QUEUE_AGENT_API_KEY", "HTTPS_PROXY", "PYTHONPATH"):
        monkeypatch.setenv(name, "planted")
    monkeypatch.setenv("TMPDIR", "/tmp")  # noqa: S108
    workers = WorkerProcesses(1, time_limit=60, memory=MEMORY)
    assert {*await workers.do(variables)} - {"LC_CTYPE"} <= {"LD_LIBRARY_PATH", "TMPDIR"}
    given = WorkerProcesses(1, 60, MEMORY, environment=("AWS_*", "HTTPS_PROXY"))
    seen = await given.do(variables)
    assert {"AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"} <= {*seen}
    assert "QUEUE_AGENT_API_KEY" not in seen


@pytest.fixture
def process() -> ConfinedProcess:
    return ConfinedProcess(Bounds(MEMORY, 60, room=2**20))


def test_what_a_process_says_is_checked(process: ConfinedProcess) -> None:
    with process:
        assert process.do(parcel, b"\0\xff\xfb", 1000) == Parcel(b"\0\xff\xfb" * 1000)
        assert process.do(printing) == 7, "what a library prints is no answer"
        with pytest.raises(WorkerLost, match="makes no sense"):
            process.do(text)
        assert not process.may_go_on
    with (
        ConfinedProcess(Bounds(MEMORY, 60, room=2**20)) as other,
        pytest.raises(WorkerLost, match="without an end"),
    ):
        other.do(shouting)


def test_what_is_wrong_with_the_disk_keeps_its_number(process: ConfinedProcess) -> None:
    with process, pytest.raises(OSError, match="No space left") as raised:
        process.do(without_room, raises=(OSError,))
    assert raised.value.errno == 28


def test_a_process_writes_no_more_than_it_has_room_for(
    process: ConfinedProcess, tmp_path: Path
) -> None:
    with process:
        process.do(writing, str(tmp_path / "small"), 1000)
        with pytest.raises(OSError, match="too large"):
            process.do(writing, str(tmp_path / "large"), 2**21, raises=(OSError,))


def test_a_process_has_no_more_of_a_cpu_than_of_time() -> None:
    """The agent that would end it may be gone."""
    with ConfinedProcess(Bounds(MEMORY, 0.5, room=2**20)) as process:
        with pytest.raises(WorkerLost):
            process.do(busy)
        assert not process.may_go_on


@pytest.mark.skipif(os.uname().machine not in {"x86_64", "aarch64"}, reason="knows not its calls")
@pytest.mark.parametrize("name", ["a socket", "a program", "another program in its place"])
def test_a_process_has_no_way_out(process: ConfinedProcess, name: str) -> None:
    with process, pytest.raises(PermissionError):
        process.do(way_out, name, raises=(PermissionError,))
    with ConfinedProcess(Bounds(MEMORY, 60, 2**20, network=True)) as other:
        if name != "another program in its place":
            other.do(way_out, name)


def test_a_link_that_a_process_leaves_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"planted")
    (tmp_path / "made").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic"):
        files.read(tmp_path / "made", "image/png")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no file"):
        files.read(tmp_path / "pipe", "image/png")
    assert files.read(tmp_path / "secret", "text/plain") == Asset(b"planted", "text/plain")


async def test_a_job_is_converted_in_a_process_and_its_cancellation_ends_that() -> None:
    workers = WorkerProcesses(1, time_limit=60, memory=MEMORY)
    stage = OutputStage((Conversion(ConversionPolicy(), workers),))
    job = parse_job(BODY)
    picture = gradient("RGB", (900, 700)).effect_spread(40)
    order = Order(job)
    (product,) = await stage.products(order, (Artifact(planted_png(picture), "image/png"),))
    with order.files:
        assert product.artifact.media_type == "image/webp"
        assert opened(product.artifact.data).size == (900, 700)
        assert opened(product.variants[1].asset.data).size == (512, 398)
    film = Artifact(video("mp4", (1280, 720)), "video/mp4")
    order = Order(parse_job(FILM))
    (product,) = await stage.products(order, (film,))
    with order.files:
        assert (product.artifact.media_type, product.warnings) == ("video/webm", ())
        assert opened(product.variants[1].asset.data).size == (512, 288)
        assert product.placeholder
    task = asyncio.create_task(workers.do(stuck))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await workers.do(identity)


async def test_a_video_that_takes_too_long_is_delivered_as_it_is_and_clean() -> None:
    workers = WorkerProcesses(1, time_limit=0.3, memory=MEMORY)
    stage = OutputStage((Conversion(ConversionPolicy(), workers),))
    film = Artifact(video("mp4", (1280, 720), frames=150), "video/mp4")
    order = Order(parse_job(FILM))
    (product,) = await stage.products(order, (film,))
    with order.files:
        assert product.artifact.media_type == "video/mp4"
        assert product.warnings == (
            "Artifact 1 is delivered as video/mp4: it took more than 0.3 s.",
        )
