"""Servers in child processes on the loopback interface, for the demo and the tests."""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"


class ServerProcess:
    """One server in a child process; a context manager that ends it.

    ``{port}`` in `command` and `env` is replaced by the port. The child gets a session
    of its own, so that Ctrl-C in a terminal reaches only the parent, which then ends its
    children in order. It runs in `folder`, or the parent's; its output goes to `log`, or nowhere.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        folder: Path | None = None,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.log = log
        self._folder = folder
        self._command = [self._with_port(part) for part in command]
        self._env = {name: self._with_port(value) for name, value in (env or {}).items()}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running child."""
        if self._process is None:
            raise RuntimeError("the server has not been started")
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether the child has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: float = 120.0) -> Self:
        """Start the child and wait until it accepts connections.

        Raises:
            RuntimeError: it ended before, or did not listen within `timeout` seconds.
        """
        self.spawn()
        self.wait_until_listening(timeout)
        return self

    def spawn(self) -> None:
        """Start the child without waiting for it to listen."""
        output = self.log.open("ab") if self.log else None
        try:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **self._env},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output or subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            if output:
                output.close()

    def wait_until_listening(self, timeout: float = 120.0) -> None:
        """Wait until the child accepts connections; raises like `start`."""
        deadline = time.monotonic() + timeout
        while not _listens(self.port):
            if not self.lives:
                raise RuntimeError(f"{self._command[0]} ended before it listened{self._tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(
                    f"{self._command[0]} did not listen in {timeout} s{self._tail()}"
                )
            time.sleep(0.02)

    def wait(self, timeout: float = 60.0) -> int:
        """Wait until the child ends by itself; its exit code."""
        if self._process is None:
            raise RuntimeError("the server has not been started")
        return self._process.wait(timeout)

    def stop(self, grace: float = 15.0) -> int | None:
        """End the child politely, after `grace` seconds by force; its exit code."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(grace)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.returncode

    def send_signal(self, number: int) -> None:
        """Send the child a signal and go on."""
        os.kill(self.pid, number)

    def freeze(self) -> None:
        """Stop the child where it is (SIGSTOP), until SIGCONT; returns when all of it stands."""
        self.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def kill(self) -> None:
        """End the child and what it started at once (SIGKILL)."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _with_port(self, text: str) -> str:
        return text.replace("{port}", str(self.port))

    def _tail(self) -> str:
        if self.log is None or not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return ":\n" + "\n".join(lines)


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on now.

    Not one of those that systems give to outgoing connections, any of which could take it
    before the server does.
    """
    while True:
        port = 16_384 + secrets.randbelow(16_384)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
