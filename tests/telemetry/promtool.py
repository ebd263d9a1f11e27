"""Prometheus' own judgement, where Debian's package `prometheus` is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed (Debian: apt-get install prometheus)",
)


def promtool(*arguments: str | Path) -> None:
    """Run it; its words where it is not content."""
    command = ["promtool", *map(str, arguments)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
