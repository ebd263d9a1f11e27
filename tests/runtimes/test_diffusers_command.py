"""The two ways to start the bundled runtime take the same options."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner

from diffusers_servers import LoadedServer, tiny_model
from queue_agent_diffusers.command import serve_diffusers
from queue_agent_diffusers.options import Options

COMMAND = typer.Typer()
COMMAND.command()(serve_diffusers)
COMMAND_LINE = ["queue_agent", "serve-diffusers"]
MODULE = ["queue_agent_diffusers"]


def help_of(words: list[str]) -> str:
    """What follows the usage line in its help."""
    ended = subprocess.run(
        [sys.executable, "-m", *words, "--help"],
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return ended.stdout.partition("[OPTIONS]")[2].lstrip()


def test_both_ways_to_start_it_list_the_same_options() -> None:
    page = help_of(COMMAND_LINE)
    assert page == help_of(MODULE)
    options = set(re.findall(r"--[a-z-]+", page))
    assert options >= {"--model", "--max-batch", "--memory-limit", "--lora-dir", "--speed"}


def test_a_default_quality_that_is_not_allowed_is_refused_at_the_start() -> None:
    options = ["--model", "tiny", "--default-quality", "fast", "--lowest-quality", "balanced"]
    ended = subprocess.run(
        [sys.executable, "-m", *COMMAND_LINE, *options],
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
        check=False,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ended.returncode == 2
    assert "fast is a lower quality than balanced" in ended.stderr


def test_an_option_given_to_the_command_line_reaches_the_engine() -> None:
    command = [sys.executable, "-m", *COMMAND_LINE, "--model", str(tiny_model()), "--max-batch=3"]
    with LoadedServer([*command, "--port", "{port}"]) as server:
        assert httpx.get(f"{server.url}/health", timeout=60).json()["max_batch"] == 3


@pytest.mark.parametrize("called", ["canny", "canny=", "=1", "canny=-1", "canny=1,canny=2", ""])
def test_a_mode_of_a_control_net_is_a_word_and_a_number(called: str) -> None:
    answer = CliRunner().invoke(COMMAND, ["--model", "tiny", f"--controlnet=any=org/name#{called}"])
    assert answer.exit_code == 2
    assert "is not MODE=NUMBER" in " ".join(answer.output.replace("│", "").split())


def test_a_control_net_may_be_told_what_its_modes_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Options] = []
    monkeypatch.setattr(
        "queue_agent_diffusers.http.server.serve",
        lambda *_, options, **__: served.append(options),
    )
    marked = tmp_path / "edges#1"
    marked.mkdir()
    named = ["union=org/name@main#canny = 3, depth=1", f"edges={marked}", "plain=org/other"]
    words = [f"--controlnet={one}" for one in named]
    answer = CliRunner().invoke(COMMAND, ["--model", "tiny", *words])
    assert answer.exit_code == 0, answer.output
    [options] = served
    assert options.control_nets == {
        "union": "org/name@main",
        "edges": str(marked),
        "plain": "org/other",
    }
    assert options.control_modes == {"union": {"canny": 3, "depth": 1}}
