"""The two ways to start the bundled runtime take the same options."""

import os
import re
import subprocess
import sys

import httpx

from diffusers_servers import LoadedServer, tiny_model

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
