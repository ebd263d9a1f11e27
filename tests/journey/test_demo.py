"""`queue-agent demo` as a newcomer sees it, in a terminal and without."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from PIL import Image

from harness import PATIENCE
from open_demo import COMMAND, PROGRAMS, demo, descendants, environment, lives
from picture_judge import Seen, seen_in

NAMES: Final = {"nats": "a NATS server", "aws": "an AWS emulator"}
CLOCK: Final = r"^\d\d:\d\d:\d\d\.\d{3} "


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


async def test_an_interrupted_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    with demo(tmp_path, STEPS="400") as shown:
        await shown.waits_for("the agent runs")
        children = descendants(shown.process.pid)
        assert len(children) == 3, "cloud, runtime and agent"
        shown.process.send_signal(signal.SIGINT)
        await shown.ends()
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


async def test_in_a_terminal_the_demo_shows_what_it_is_doing(tmp_path: Path) -> None:
    seen = await asyncio.to_thread(in_a_terminal, [*COMMAND, "--once", "--output", str(tmp_path)])
    for stage in ("starting a NATS server", "starting the agent", "loading the model tiny"):
        assert f"{stage} …" in seen
    assert re.search(r"step \d+ of 300", seen)
    assert "✓" in seen


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
