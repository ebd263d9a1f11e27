"""How long the agent takes until it works."""

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass

from benchmarks.stage import AGENT, BenchServers, Load

_IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


@dataclass(frozen=True)
class Startup:
    """Medians, in milliseconds."""

    first_poll_ms: float
    """From the start of the process until the queue was asked for messages."""
    import_cli_ms: float
    """`import queue_agent.cli.app`: what every command pays."""
    import_run_ms: float
    """`import queue_agent.cli.run`: what the agent pays."""
    bare_python_ms: float
    """The interpreter itself, from its start to its end."""


async def measure_startup(stage: BenchServers, repeat: int) -> Startup:
    """Start the agent so often, at least three times, on an empty queue."""
    times = range(max(3, repeat))
    load = Load("0 ms", 0.0, 0)
    polls = [(await stage.observe(AGENT, load, warm_up=0)).first_poll for _ in times]
    return Startup(
        first_poll_ms=1000 * statistics.median(polls),
        import_cli_ms=statistics.median([await _imported("queue_agent.cli.app") for _ in times]),
        import_run_ms=statistics.median([await _imported("queue_agent.cli.run") for _ in times]),
        bare_python_ms=statistics.median([await _bare() for _ in times]),
    )


async def _imported(module: str) -> float:
    return 1000 * float(await _python(_IMPORT.format(module)))


async def _bare() -> float:
    before = time.monotonic()
    await _python("pass")
    return 1000 * (time.monotonic() - before)


async def _python(code: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    return printed
