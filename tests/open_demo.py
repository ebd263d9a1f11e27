"""`queue-agent demo` as a process, what it prints and the processes that it has."""

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness import PATIENCE, until
from queue_agent.testing.process import ServerProcess

COMMAND: Final = (sys.executable, "-m", "queue_agent", "demo")
PROGRAMS: Final = {"nats": "nats-server", "aws": "moto.server"}
"""What its cloud is, by the command line."""
AGENT: Final = "queue_agent run"
KEPT: Final = ("PATH", "HOME", "PYTHONPATH")


@dataclass
class OpenDemo:
    """A demo that stays."""

    process: ServerProcess
    log: Path

    def printed(self) -> str:
        return self.log.read_text()

    async def waits_for(self, pattern: str) -> re.Match[str]:
        async def found() -> re.Match[str] | None:
            assert self.process.lives, self.printed()
            return re.search(pattern, self.printed(), re.MULTILINE)

        match = await until(found, what=pattern, timeout=3 * PATIENCE)
        assert match
        return match

    def child(self, part: str) -> int:
        """The id of the only child whose command line has this part."""
        (pid,) = (pid for pid, line in descendants(self.process.pid).items() if part in line)
        return pid

    async def ends(self) -> int:
        return await asyncio.to_thread(self.process.wait, PATIENCE)


@contextmanager
def demo(folder: Path, *options: str, **given: str) -> Iterator[OpenDemo]:
    log = folder / "demo.log"
    command = [*COMMAND, *options, "--output", str(folder / "out")]
    env = {"STEPS": "4", "COLUMNS": "200", **given}
    process = ServerProcess(command, env=env, log=log, folder=folder)
    process.spawn()
    try:
        yield OpenDemo(process, log)
    finally:
        process.stop(PATIENCE)


def descendants(parent: int) -> dict[int, str]:
    """A process's children, with their command lines."""
    found: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def environment(**given: str) -> dict[str, str]:
    """Of the system only what a program needs to start."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    return {**kept, "COLUMNS": "200", **given}


def lives(pid: int) -> bool:
    """Whether it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
