"""The examples work as they stand, and there is none that is not run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from PIL import Image

from gateway_site import Site
from queue_agent.testing.process import ServerProcess

EXAMPLES: Final = Path(__file__).parent.parent.parent / "examples"
NEEDS: Final = {
    "async_client.py": (),
    "sync_client.py": (),
    "boto3_client.py": (),
    "curl.sh": ("curl", "python3"),
    "webui_client.sh": ("curl", "python3"),
    "aws_cli.sh": ("aws", "python3"),
}


def test_every_example_is_run() -> None:
    programs = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"README.md"}
    assert programs == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_saves_an_image(
    site: Site, gateway: ServerProcess, tmp_path: Path, name: str
) -> None:
    for program in NEEDS[name]:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    launcher = [sys.executable] if name.endswith(".py") else []
    done = subprocess.run(
        [*launcher, str(EXAMPLES / name), f"an example: {name}", str(tmp_path / "out")],
        env={**os.environ, **site.environment, "GATEWAY": gateway.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (tmp_path / "out").iterdir()
    with Image.open(file) as image:
        assert image.size == (512, 512)
    assert f"saved {file}" in done.stdout
