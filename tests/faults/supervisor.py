"""Agents as child processes of the test's event loop: signalled, killed, and replaced."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp

from queue_agent.tasks import background
from queue_agent.testing.process import ServerProcess

_LOOK = 0.1
"""Seconds between two looks whether a server lives."""


async def keep_alive(server: ServerProcess, *, pause: float) -> None:
    """Start a server again, so many seconds after its end, until cancelled; then end it."""
    try:
        while True:
            if not server.lives:
                await asyncio.sleep(pause)
                server.spawn()
            await asyncio.sleep(_LOOK)
    finally:
        server.kill()


class Agent:
    """One place for an agent, as in a Deployment: one that ends unasked is replaced at once."""

    def __init__(
        self,
        environment: Mapping[str, str | None],
        *,
        log: Path,
        replaced: bool = True,
        may_write_files: bool = True,
    ) -> None:
        """A variable that is None in `environment` is removed from what the agent inherits.

        Without `may_write_files` every write to a file fails, as on a full disk, and there is
        no log.
        """
        inherited = {**os.environ, **environment}
        self._environment = {name: value for name, value in inherited.items() if value is not None}
        self.log = log
        self._replaced = replaced
        self._limits: Callable[[], None] | None = None if may_write_files else _forbid_writing
        self._process: asyncio.subprocess.Process | None = None
        self._changed = asyncio.Condition()
        self.exits: list[int] = []
        """Exit codes of the processes so far; that of a killed one is negative."""

    @property
    def crashes(self) -> list[int]:
        """The exit codes that nobody asked for."""
        return [code for code in self.exits if code not in {0, -signal.SIGKILL}]

    @property
    def pid(self) -> int | None:
        """Of the running process; None while there is none."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process is not None and running else None

    async def keep(self) -> None:
        """Run the agent until cancelled, then kill it: who wants a polite end waits for it."""
        try:
            while True:
                await self._run_once()
                if not self._replaced:
                    return
        finally:
            await asyncio.shield(self._end())

    def send(self, number: int) -> None:
        """Send the running process a signal."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it in the middle of whatever it does; another takes its place."""
        self.send(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM, as at the end of a pod: nothing takes its place."""
        self._replaced = False
        self.send(signal.SIGTERM)

    def peak_memory(self) -> int:
        """Bytes that the running process has needed at most (VmHWM, proc(5))."""
        if self._process is None:
            return 0
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])

    async def drains(self) -> bool:
        """Whether it has noticed the signal to end."""
        return '"draining"' in self.log.read_text()

    async def ended(self, *, times: int = 1) -> int:
        """Wait for the end of the `times`-th process; its exit code."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.exits) >= times)
        return self.exits[times - 1]

    async def _run_once(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "queue_agent",
                "run",
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL if self._limits else log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=self._limits,
            )
        code = await self._process.wait()
        async with self._changed:
            self.exits.append(code)
            self._changed.notify_all()

    async def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


def _forbid_writing() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


async def kubelet(server: ServerProcess, probe: str, *, period: float, failures: int) -> None:
    """Restart a server whose liveness probe fails so often in a row, and whenever it ends."""
    async with background(keep_alive(server, pause=0.5)), aiohttp.ClientSession() as session:
        seen = 0
        while True:
            await asyncio.sleep(period)
            seen = 0 if await _succeeds(session, probe) else seen + 1
            if seen >= failures:
                server.kill()
                seen = 0


async def _succeeds(session: aiohttp.ClientSession, probe: str) -> bool:
    try:
        async with session.get(probe) as answer:
            return answer.ok
    except aiohttp.ClientError:
        return False
