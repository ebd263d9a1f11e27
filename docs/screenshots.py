"""Take the screenshots of the documents from the running demo: `make screenshots`.

It starts a demo of its own and drives its page in a real browser (`screenshots.mjs`); run it again
whenever the page has changed, and look at what it wrote. It needs Node.js and Chromium; PLAYWRIGHT
and CHROMIUM say where they are found otherwise.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from queue_agent.testing.process import ServerProcess

HERE: Final = Path(__file__).parent
PLAYWRIGHT: Final = os.environ.get("PLAYWRIGHT", str(HERE.parent / ".venv" / "page"))


def main() -> None:
    """Write them to docs/images, or to the folder that the command line names."""
    folder = sys.argv[1] if len(sys.argv) > 1 else str(HERE / "images")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Chromium is needed; on Debian: apt-get install chromium")
    with TemporaryDirectory() as work:
        log = Path(work) / "demo.log"
        command = [sys.executable, "-m", "queue_agent", "demo", "--page", "--output", work]
        demo = ServerProcess(command, env={"COLUMNS": "200"}, log=log)
        demo.spawn()
        try:
            address = _address(demo, log)
            subprocess.run(  # noqa: S603  our own script
                ["node", str(HERE / "screenshots.mjs"), address, folder],  # noqa: S607
                env={**os.environ, "PLAYWRIGHT": PLAYWRIGHT, "CHROMIUM": chromium},
                check=True,
            )
        finally:
            demo.stop()


def _address(demo: ServerProcess, log: Path) -> str:
    while True:
        printed = log.read_text() if log.exists() else ""
        if found := re.search(r"the page: (http://\S+)", printed):
            return found[1]
        if not demo.lives:
            raise SystemExit(printed)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
