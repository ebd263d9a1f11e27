"""`queue-agent` in this process, where a test asks it often: to start it takes a core a second."""

import io
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest

from queue_agent.cli.app import main


class Ended(NamedTuple):
    """How the command ended, and what it had printed."""

    returncode: int
    stdout: str
    stderr: str


def queue_agent_here(*arguments: str, environment: Mapping[str, str]) -> Ended:
    """What its process would do with these variables beside those of the tests."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code = 0
    with (
        pytest.MonkeyPatch.context() as patched,
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        patched.setattr(sys, "argv", ["queue-agent", *arguments])
        for name, value in environment.items():
            patched.setenv(name, value)
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, stdout.getvalue(), stderr.getvalue())
