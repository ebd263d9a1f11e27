"""A browser that uses the gateway's page: playwright-core from npm and a Chromium of the system."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from gateway_site import Site
from queue_agent.gateway.keys import KeyFile, new_key
from queue_agent.testing.process import ServerProcess

SCRIPTS: Final = Path(__file__).parent / "gateway" / "page"
PLAYWRIGHT: Final = Path(
    os.environ.get("PLAYWRIGHT", Path(__file__).parent.parent / ".venv" / "page")
)
CHROMIUM: Final = os.environ.get("CHROMIUM") or shutil.which("chromium")

Seen = dict[str, Any]
"""What a script saw, by names of its own."""


def missing() -> str | None:
    """What the browser's tests lack on this machine."""
    if shutil.which("node") is None:
        return "node is not installed"
    if CHROMIUM is None:
        return "chromium is not installed (on Debian: apt-get install chromium)"
    for package in ("playwright-core", "axe-core"):
        if not (PLAYWRIGHT / "node_modules" / package).is_dir():
            return f"{package} is not in {PLAYWRIGHT} (make test installs it where npm is)"
    return None


def visit(site: Site, script: str, folder: Path, **environment: str) -> Seen:
    """What a script saw that used the page of a gateway of its own, by a key of its own.

    Its screenshots go to SCREENSHOTS if that is set, else to the folder.
    """
    _skip_without_browser()
    keys = folder / "keys.json"
    key = write_keys(keys, script)[script]
    gateway = site.start_gateway(QUEUE_AGENT_GATEWAY_KEYS_FILE=str(keys))
    return use(gateway.url, script, folder, KEY=key, RUNTIME=site.runtime.url, **environment)


def visit_exhibition(script: str, folder: Path) -> Seen:
    """The same of the page of `page_exhibition`."""
    _skip_without_browser()
    keys = write_keys(folder / "keys.json", "page", "crowd", "wall", "busy", "empty")
    program = Path(__file__).with_name("page_exhibition.py")
    command = [sys.executable, str(program), "{port}", str(folder / "keys.json")]
    with ServerProcess(command, log=folder / "log") as server:
        return use(
            server.url,
            script,
            folder,
            KEY=keys["page"],
            CROWD_KEY=keys["crowd"],
            WALL_KEY=keys["wall"],
            BUSY_KEY=keys["busy"],
            EMPTY_KEY=keys["empty"],
        )


def _skip_without_browser() -> None:
    if (reason := missing()) is not None:
        pytest.skip(reason)


def write_keys(file: Path, *names: str) -> dict[str, str]:
    """A keys file with one of each name; the keys."""
    made = {name: new_key(name) for name in names}
    file.write_text(KeyFile(keys=tuple(entry for _, entry in made.values())).model_dump_json())
    return {name: key for name, (key, _) in made.items()}


def use(url: str, script: str, folder: Path, **environment: str) -> Seen:
    """What a script saw that used the page at `url` with these variables in its environment."""
    tools = {"PLAYWRIGHT": str(PLAYWRIGHT), "CHROMIUM": str(CHROMIUM)}
    done = subprocess.run(
        ["node", str(SCRIPTS / f"{script}.mjs"), url, os.environ.get("SCREENSHOTS", folder)],
        env={**os.environ, **tools, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    seen: Seen = json.loads(done.stdout)
    return seen
