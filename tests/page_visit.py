"""A browser that uses the gateway's page: playwright-core from npm and a Chromium of the system."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from gateway_site import Site
from queue_agent.gateway.keys import KeyFile, new_key

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
    if not (PLAYWRIGHT / "node_modules" / "playwright-core").is_dir():
        return f"playwright-core is not in {PLAYWRIGHT} (make test installs it where npm is)"
    return None


def visit(site: Site, script: str, folder: Path, **environment: str) -> Seen:
    """What a script saw that used the page of a gateway of its own, by a key of its own.

    Its screenshots go to SCREENSHOTS if that is set, else to the folder.
    """
    key, entry = new_key(script)
    keys = folder / "keys.json"
    keys.write_text(KeyFile(keys=(entry,)).model_dump_json())
    gateway = site.start_gateway(QUEUE_AGENT_GATEWAY_KEYS_FILE=str(keys))
    done = subprocess.run(
        [
            "node",
            str(SCRIPTS / f"{script}.mjs"),
            gateway.url,
            os.environ.get("SCREENSHOTS", folder),
        ],
        env={
            **os.environ,
            "PLAYWRIGHT": str(PLAYWRIGHT),
            "CHROMIUM": str(CHROMIUM),
            "KEY": key,
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    seen: Seen = json.loads(done.stdout)
    return seen
