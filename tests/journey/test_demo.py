"""`queue-agent demo` as a newcomer sees it, in a terminal and without."""

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
from open_demo import AGENT, COMMAND, PROGRAMS, OpenDemo, demo, descendants
from picture_judge import Seen, seen_in

README: Final = Path(__file__).parents[2] / "README.md"
BLOCK: Final = re.compile(r"^```(json|python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES: Final = {"nats": "a NATS server", "aws": "an AWS emulator"}
CLOCK: Final = r"^\d\d:\d\d:\d\d\.\d{3} "
KEPT: Final = ("PATH", "HOME", "PYTHONPATH")


def environment(**given: str) -> dict[str, str]:
    """Of the system only what a program needs to start."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    return {**kept, "COLUMNS": "200", **given}


@pytest.fixture(params=NAMES, scope="module")
def cloud(request: pytest.FixtureRequest) -> str:
    """Each that the demo runs on."""
    return str(request.param)


@pytest.fixture(scope="module")
def shown(cloud: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What a demo of one job, without a terminal, left in its folder and printed."""
    folder = tmp_path_factory.mktemp("demo")
    ended = subprocess.run(
        [*COMMAND, "--once", "--output", str(folder)],
        env=environment(STEPS="12", PROMPT="red circle", CLOUD=cloud),
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder, ended.stdout


def test_the_demo_leaves_the_picture_that_was_asked_for(shown: tuple[Path, str]) -> None:
    folder, printed = shown
    notification = json.loads((folder / "notification.json").read_text())
    assert notification["status"] == "completed"
    (name,) = [Path(url).name for url in notification["image_url"]]
    with Image.open(folder / name) as image:
        assert seen_in(image) == Seen("circle", "red", "white")
    assert f"saved {folder / name}" in printed


def test_without_a_terminal_each_stage_is_a_line_with_its_time(
    shown: tuple[Path, str], cloud: str
) -> None:
    _, printed = shown
    lines = [line[13:] for line in printed.splitlines() if re.match(CLOCK, line)]
    stages = [line for line in lines if "step" not in line]
    assert [re.sub(r"job \S+ was published to \S+", "job", stage) for stage in stages] == [
        f"… starting {NAMES[cloud]} …",
        f"✓ {NAMES[cloud]} runs: topics, queue and bucket are made",
        "… starting the agent …",
        "✓ the agent runs",
        "… loading the model tiny …",
        "✓ the runtime has loaded the model tiny",
        "✓ job",
        "✓ the agent received the message",
        "✓ translated for the runtime",
        "✓ the runtime began",
        "✓ images and manifest are in the bucket",
        "✓ subscribers were notified",
        "✓ the message was deleted",
    ]
    steps = [line for line in lines if "step" in line]
    assert 1 <= len(steps) <= 4
    assert all(re.fullmatch(r"… step \d+ of 12", step) for step in steps)


def test_the_clocks_of_the_stages_are_true(shown: tuple[Path, str]) -> None:
    _, printed = shown
    lines = [line for line in printed.splitlines() if re.match(CLOCK, line)]
    done = [line[:12] for line in lines if "✓" in line]
    assert done == sorted(done), "each by the clock of who did it"


def test_the_demo_says_how_to_get_a_real_picture(shown: tuple[Path, str]) -> None:
    _, printed = shown
    assert re.search(r"^    make demo MODEL=\S+$", printed, re.MULTILINE)


def test_a_model_that_cannot_be_loaded_ends_the_demo_with_the_runtimes_own_sentence(
    tmp_path: Path,
) -> None:
    ended = subprocess.run(
        [*COMMAND, "--once", "--output", str(tmp_path)],
        env=environment(MODEL="typo"),
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "✗ The runtime ended with code 1." in ended.stdout
    assert ended.stdout.rstrip().endswith(
        "The model cannot be served. There is no file or folder 'typo', and it is no hub id."
    )
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("options", "missing", "extra"),
    [
        ((), "torch", "demo"),
        ((), "nats", "demo"),
        (("--cloud", "aws"), "moto", "demo-aws"),
        (("--cloud", "aws"), "torch", "demo-aws"),
    ],
)
def test_without_its_extra_the_demo_says_so_in_one_line(
    options: tuple[str, ...], missing: str, extra: str
) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None;"
        f"sys.argv = ['queue-agent', 'demo', *{options!r}];"
        "from queue_agent.cli.app import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        f"queue-agent demo needs {missing}; install with: pip install 'sd-queue-agent[{extra}]'\n"
    )
    assert ended.stdout == ""


@asynccontextmanager
async def page(folder: Path, cloud: str = "nats") -> AsyncIterator[tuple[OpenDemo, str]]:
    """A demo with its page, and the page's address."""
    with demo(folder, "--page", "--cloud", cloud) as shown:
        yield shown, (await shown.waits_for(r"the page: (http://\S+)"))[1]


async def test_an_interrupted_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    with demo(tmp_path, STEPS="400") as shown:
        await shown.waits_for("the agent runs")
        children = descendants(shown.process.pid)
        assert len(children) == 3, "cloud, runtime and agent"
        shown.process.send_signal(signal.SIGINT)
        await shown.ends()
    assert not any(lives(pid) for pid in children)


async def test_after_its_job_the_demo_serves_the_page_until_it_is_interrupted(
    tmp_path: Path, cloud: str
) -> None:
    async with page(tmp_path, cloud) as (shown, url):
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
            assert "Queue agent" in (await client.get("/")).text
            body = {"content": {"prompt": "x", "steps": 1, "width": 64, "height": 64}}
            job = (await client.post("/v1/jobs", json=body)).json()
            view = await finished(client, job["id"])
            assert view["status"] == "completed", view
            (image,) = view["images"]
            opened = await client.get(image["href"])
            assert (opened.status_code, opened.headers["content-type"]) == (200, "image/png")
        children = descendants(shown.process.pid)
        assert len(children) == 4
        shown.process.send_signal(signal.SIGINT)
        assert await shown.ends() == 0
    assert not any(lives(pid) for pid in children)


async def test_what_the_demo_prints_for_a_second_shell_runs_there_as_it_is(
    tmp_path: Path, cloud: str
) -> None:
    async with page(tmp_path, cloud) as (shown, _):
        block = [line[4:] for line in shown.printed().splitlines() if line.startswith("    ")]
        exports = [line for line in block if line.startswith("export ")]
        commands = [line for line in block if re.search(r"queue.agent (submit|status) ", line)]
        assert len(commands) == 2
        for command in commands:
            script = "\n".join(["set -e", *exports, command])
            shell = await asyncio.to_thread(in_a_shell, script, tmp_path)
            assert shell.returncode == 0, shell.stdout + shell.stderr
            assert json.loads(shell.stdout)["status"] == "completed"
        (saved,) = (tmp_path / "demo-output").glob("*.png")
        with Image.open(saved) as image:
            assert seen_in(image) == Seen("star", "yellow", "purple")
        for language, text in BLOCK.findall(README.read_text()):
            if language == "json":
                (tmp_path / "job.json").write_text(text)
                continue
            by_aws = text.startswith("aws ") or "import boto3" in text
            if by_aws and cloud != "aws":
                continue
            if text.startswith("aws ") and shutil.which("aws") is None:
                continue
            (tmp_path / "block").write_text(text)
            run = "python block" if language == "python" else "bash -e block"
            path = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
            script = "\n".join(["set -e", path, *exports, run])
            shell = await asyncio.to_thread(in_a_shell, script, tmp_path)
            assert shell.returncode == 0, text + shell.stdout + shell.stderr


@pytest.mark.parametrize(
    ("cloud", "name", "part"),
    [
        ("nats", "gateway", "queue_agent gateway"),
        ("aws", "cloud", PROGRAMS["aws"]),
    ],
)
async def test_a_child_that_dies_ends_the_demo_with_its_last_lines(
    tmp_path: Path, cloud: str, name: str, part: str
) -> None:
    async with page(tmp_path, cloud) as (shown, _):
        children = descendants(shown.process.pid)
        os.kill(shown.child(part), signal.SIGKILL)
        assert await shown.ends() == 1
        assert re.search(
            rf"^✗ The {name} ended with code -9\. The last that it said:\n.+",
            shown.printed(),
            re.MULTILINE,
        )
    assert not any(lives(pid) for pid in children)


async def test_a_job_outlives_that_its_server_is_killed(tmp_path: Path) -> None:
    with demo(tmp_path, "--once", STEPS="300") as shown:
        await shown.waits_for("step [0-9]+ of 300")
        os.kill(shown.child(PROGRAMS["nats"]), signal.SIGKILL)
        await shown.waits_for("The cloud was ended; it is started again")
        assert await shown.ends() == 0, shown.printed()
        notification = json.loads((tmp_path / "out" / "notification.json").read_text())
        assert notification["status"] == "completed"
        assert notification["attempt"] == 1, "what it had stored, it knows"


async def test_the_page_outlives_that_its_server_and_its_agent_are_ended(tmp_path: Path) -> None:
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


async def test_in_a_terminal_the_demo_shows_what_it_is_doing(tmp_path: Path) -> None:
    seen = await asyncio.to_thread(in_a_terminal, [*COMMAND, "--once", "--output", str(tmp_path)])
    for stage in ("starting a NATS server", "starting the agent", "loading the model tiny"):
        assert f"{stage} …" in seen
    assert re.search(r"step \d+ of 300", seen)
    assert "✓" in seen


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


def in_a_terminal(command: list[str]) -> str:
    """What a program prints on a terminal, with its control sequences."""
    import pty  # noqa: PLC0415  not on every system

    main, terminal = pty.openpty()
    seen = bytearray()
    with subprocess.Popen(
        command,
        env={**environment(STEPS="300"), "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        with open(main, "rb", buffering=0) as screen:  # noqa: PTH123  a descriptor
            while True:
                try:
                    part = screen.read(4096)
                except OSError:  # how Linux tells that nobody holds the other end
                    break
                if not part:
                    break
                seen += part
    assert process.returncode == 0, seen.decode()
    return seen.decode(errors="replace")


def lives(pid: int) -> bool:
    """Whether it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
