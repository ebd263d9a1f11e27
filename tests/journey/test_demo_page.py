"""`queue-agent demo` with its page, which stays until it is interrupted."""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from PIL import Image

from gateway_site import finished
from harness import PATIENCE, until
from open_demo import AGENT, PROGRAMS, OpenDemo, demo, descendants, environment, lives
from picture_judge import Seen, seen_in

README: Final = Path(__file__).parents[2] / "README.md"
BLOCK: Final = re.compile(r"^```(json|python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@asynccontextmanager
async def page(folder: Path, cloud: str = "nats") -> AsyncIterator[tuple[OpenDemo, str]]:
    """A demo with its page, and the page's address."""
    with demo(folder, "--page", "--cloud", cloud) as shown:
        yield shown, (await shown.waits_for(r"the page: (http://\S+)"))[1]


@pytest.mark.parametrize("cloud", PROGRAMS)
async def test_after_its_job_the_demo_serves_the_page_and_a_second_shell_until_it_is_interrupted(
    tmp_path: Path, cloud: str
) -> None:
    async with page(tmp_path, cloud) as (shown, url):
        await makes_an_image(url)
        await runs_what_it_prints(shown, tmp_path, cloud)
        children = descendants(shown.process.pid)
        assert len(children) == 4
        shown.process.send_signal(signal.SIGINT)
        assert await shown.ends() == 0
    assert not any(lives(pid) for pid in children)


async def makes_an_image(url: str) -> None:
    """The page is there, and a job that is given to its gateway is done."""
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        assert "Queue agent" in (await client.get("/")).text
        body = {"content": {"prompt": "x", "steps": 1, "width": 64, "height": 64}}
        job = (await client.post("/v1/jobs", json=body)).json()
        view = await finished(client, job["id"])
        assert view["status"] == "completed", view
        (image,) = view["images"]
        opened = await client.get(image["href"])
        assert (opened.status_code, opened.headers["content-type"]) == (200, "image/png")


async def runs_what_it_prints(shown: OpenDemo, folder: Path, cloud: str) -> None:
    """In a second shell, and README's commands after them."""
    block = [line[4:] for line in shown.printed().splitlines() if line.startswith("    ")]
    exports = [line for line in block if line.startswith("export ")]
    commands = [line for line in block if re.search(r"queue.agent (submit|status) ", line)]
    assert len(commands) == 2
    for command in commands:
        script = "\n".join(["set -e", *exports, command])
        shell = await asyncio.to_thread(in_a_shell, script, folder)
        assert shell.returncode == 0, shell.stdout + shell.stderr
        assert json.loads(shell.stdout)["status"] == "completed"
    (saved,) = (folder / "demo-output").glob("*.png")
    with Image.open(saved) as image:
        assert seen_in(image) == Seen("star", "yellow", "purple")
    for language, text in BLOCK.findall(README.read_text()):
        if language == "json":
            (folder / "job.json").write_text(text)
            continue
        by_aws = text.startswith("aws ") or "import boto3" in text
        if by_aws and cloud != "aws":
            continue
        if text.startswith("aws ") and shutil.which("aws") is None:
            continue
        (folder / "block").write_text(text)
        run = "python block" if language == "python" else "bash -e block"
        path = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
        script = "\n".join(["set -e", path, *exports, run])
        shell = await asyncio.to_thread(in_a_shell, script, folder)
        assert shell.returncode == 0, text + shell.stdout + shell.stderr


async def test_an_emulator_that_dies_ends_the_demo_with_its_last_lines(tmp_path: Path) -> None:
    async with page(tmp_path, "aws") as (shown, _):
        await is_ended_by_the_death_of(shown, "cloud", PROGRAMS["aws"])


async def is_ended_by_the_death_of(shown: OpenDemo, name: str, part: str) -> None:
    """The demo says what that child last said, and leaves no other behind."""
    children = descendants(shown.process.pid)
    os.kill(shown.child(part), signal.SIGKILL)
    assert await shown.ends() == 1
    assert re.search(
        rf"^✗ The {name} ended with code -9\. The last that it said:\n.+",
        shown.printed(),
        re.MULTILINE,
    )
    assert not any(lives(pid) for pid in children)


async def test_the_page_outlives_that_its_server_and_its_agent_are_ended_and_not_its_gateway(
    tmp_path: Path,
) -> None:
    body = {"content": {"prompt": "x", "steps": 1, "width": 64, "height": 64}}
    async with (
        page(tmp_path) as (shown, url),
        httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client,
    ):
        earlier = (await client.post("/v1/jobs", json=body)).raise_for_status().json()
        assert (await finished(client, earlier["id"]))["status"] == "completed"
        before = shown.child(PROGRAMS["nats"])
        os.kill(before, signal.SIGTERM)
        await shown.waits_for("The cloud was ended; it is started again")
        assert shown.child(PROGRAMS["nats"]) != before
        os.kill(shown.child(AGENT), signal.SIGKILL)
        await shown.waits_for("The agent was ended; it is started again")

        async def accepted() -> httpx.Response | None:
            answer = await client.post("/v1/jobs", json=body)
            assert answer.is_success or answer.status_code == 503, "the server is not there yet"
            return answer if answer.is_success else None

        answer = await until(accepted, what="a job that is accepted")
        assert answer
        later = answer.json()
        for job in (later, earlier):
            view = await finished(client, job["id"])
            assert view["status"] == "completed"
            assert (await client.get(view["images"][0]["href"])).is_success
        await is_ended_by_the_death_of(shown, "gateway", "queue_agent gateway")


def in_a_shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a second shell makes of it."""
    return subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
