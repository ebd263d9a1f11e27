"""An adapter of a runtime that works on several jobs at a time, installed for one benchmark."""

from pathlib import Path
from typing import ClassVar, Final

from queue_agent_runtimes.webui import WebUIRuntime

LANES: Final = 8


class WideRuntime(WebUIRuntime):
    """The fake Web UI with as many lanes; the real one has a single one."""

    name: ClassVar[str] = "wide"
    concurrency: int = LANES


def install(folder: Path) -> dict[str, str]:
    """Register the adapter as an installed package does; the environment that finds it there."""
    package = folder / "wide-0.dist-info"
    package.mkdir(parents=True, exist_ok=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: wide\nVersion: 0\n")
    (package / "entry_points.txt").write_text(
        f"[queue_agent.runtimes]\nwide = {__name__}:{WideRuntime.__name__}\n"
    )
    return {"PYTHONPATH": str(folder), "QUEUE_AGENT_RUNTIME": WideRuntime.name}
