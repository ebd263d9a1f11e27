"""`queue-agent demo`: the main job end to end on this machine, with nothing but this package.

Child processes on the loopback interface: an embedded cloud (topic → filtered queue with dead
letters, notification topic, bucket), the bundled diffusers runtime, the agent and, once the job
has been shown, the gateway with its page.
"""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from queue_agent.client import Client, make_job
from queue_agent.cloud import Deployment
from queue_agent.tasks import background
from queue_agent.testing.aws import EmbeddedCloud, deploy
from queue_agent.testing.process import HOST, ServerProcess, free_port
from queue_agent.wire.job import Job
from queue_agent.wire.notification import Notification

_RUNTIME_NAME = "demo"
_TINY_SIZE = 256
_PAGE_PORT = 8000
_LAST_LOOK = 0.3
"""Seconds for the view to show the last steps."""
_STEPS = {
    "received": "the agent received the message",
    "prepared": "translated for the runtime",
    "running": "the runtime began",
    "completed": "images and manifest are in the bucket",
    "notified": "subscribers were notified",
    "acknowledged": "the message was deleted",
}


def demo(*, prompt: str, model: str | None, steps: int, output: Path, once: bool) -> bool:
    """Show one job's way, then, unless `once`, the page until Ctrl-C; whether it was completed."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells' background jobs ignore it
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    console = Console()
    with ExitStack() as children, TemporaryDirectory(prefix="queue-agent-") as work:
        folder = Path(work)
        cloud = EmbeddedCloud(log=folder / "cloud.log")
        command = [sys.executable, "-m", "queue_agent", "serve-diffusers", "--port", "{port}"]
        runtime = ServerProcess([*command, "--model", model or "tiny"], log=folder / "runtime.log")
        for child in (cloud, runtime):
            child.spawn()
            children.callback(child.stop)
        with console.status("starting an embedded cloud and the diffusers runtime …"):
            cloud.wait_until_listening()
            runtime.wait_until_listening()
        size = {} if model else {"width": _TINY_SIZE, "height": _TINY_SIZE}
        job = make_job(
            {"prompt": prompt, "steps": steps, **size},
            runtime=_RUNTIME_NAME,
            task_type="text-to-image",
        )
        show = _Show(console, cloud, runtime, log=folder / "agent.log")
        return asyncio.run(show.run(job, output, once=once))


@dataclass
class _Show:
    """The part of the demo that has an audience."""

    console: Console
    embedded: EmbeddedCloud
    runtime: ServerProcess
    log: Path
    """Where the agent logs to; its steps are read from there."""

    async def run(self, job: Job, output: Path, *, once: bool) -> bool:
        """Publish the job, show its way, leave what came of it in the folder, open the page."""
        cloud = self.embedded.connect()
        try:
            deployment = await deploy(cloud, _RUNTIME_NAME)
            client = Client(
                cloud,
                job_topic=deployment.job_topic,
                notification_topic=deployment.notification_topic,
            )
            with self._agent(deployment) as agent:
                async with client.notifications(job_id=job.id) as notifications:
                    await client.submit(job)
                    self.console.print(f"published [bold]{job.id}[/bold] to {deployment.job_topic}")
                    final = await self._follow(notifications)
                self.console.print()
                self.console.print_json(final.to_json())
                paths = await client.save(final, output)
                paths.append(output / "notification.json")
                paths[-1].write_text(final.to_json())
                for path in paths:
                    self.console.print(f"saved [bold green]{path}[/bold green]", highlight=False)
                if not once:
                    await self._open_page(deployment, agent)
        finally:
            await cloud.aclose()
        return final.status == "completed"

    async def _open_page(self, deployment: Deployment, agent: ServerProcess) -> None:
        """Serve the gateway until Ctrl-C."""
        settings = {
            **self.embedded.environment(),
            **deployment.environment(),
            "QUEUE_AGENT_JOB_TOPIC_ARN": deployment.job_topic,
            "QUEUE_AGENT_GATEWAY_PORT": "{port}",
        }
        command = [sys.executable, "-m", "queue_agent", "gateway"]
        log = self.log.with_name("gateway.log")
        gateway = ServerProcess(command, port=_page_port(), env=settings, log=log)
        gateway.spawn()
        try:
            await asyncio.to_thread(gateway.wait_until_listening)
            self.console.print(f"\nthe agent's metrics: {agent.url}/metrics")
            self.console.print(f"the runtime's metrics: {self.runtime.url}/metrics")
            self.console.print(f"the page: [bold]{gateway.url}[/bold]  (Ctrl-C ends the demo)")
            with suppress(asyncio.CancelledError):  # how Ctrl-C arrives
                await asyncio.Event().wait()
        finally:
            gateway.stop()

    @contextmanager
    def _agent(self, deployment: Deployment) -> Iterator[ServerProcess]:
        settings = {
            **self.embedded.environment(),
            **deployment.environment(),
            "QUEUE_AGENT_RUNTIME": "diffusers",
            "QUEUE_AGENT_RUNTIME_URL": self.runtime.url,
            "QUEUE_AGENT_NOTIFY_RUNNING": "true",
            "QUEUE_AGENT_PROGRESS_INTERVAL": "0.1",
            "QUEUE_AGENT_HEALTH_HOST": HOST,
            "QUEUE_AGENT_HEALTH_PORT": "{port}",
            "QUEUE_AGENT_LOG_LEVEL": "DEBUG",
            "QUEUE_AGENT_LOG_FORMAT": "json",
        }
        command = [sys.executable, "-m", "queue_agent", "run"]
        agent = ServerProcess(command, env=settings, log=self.log)
        agent.spawn()
        try:
            yield agent
        finally:
            agent.stop()

    async def _follow(self, notifications: AsyncIterator[Notification]) -> Notification:
        """Show the agent's steps and the runtime's progress until the final notification."""
        steps = Table.grid(padding=(0, 1))
        bar = Progress(
            TextColumn("  diffusion"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeElapsedColumn(),
            console=self.console,
        )
        task = bar.add_task("diffusion", total=1.0)
        with Live(Group(steps, bar), console=self.console, refresh_per_second=12):
            async with background(self._show_steps(steps)):
                async for notification in notifications:
                    if notification.status != "running":
                        bar.update(task, completed=1.0 if notification.result else None)
                        await asyncio.sleep(_LAST_LOOK)
                        return notification
                    bar.update(task, completed=notification.progress or 0.0)
        raise RuntimeError("the notifications ended")

    async def _show_steps(self, steps: Table) -> None:
        shown = 0
        while True:
            entries = _log_entries(self.log)
            for entry in entries[shown:]:
                if entry["event"] in _STEPS:
                    moment = entry["timestamp"][11:23]
                    steps.add_row("[green]✓[/green]", _STEPS[entry["event"]], f"[dim]{moment}")
            shown = len(entries)
            await asyncio.sleep(0.05)


def _page_port() -> int:
    """The gateway's usual port, or another where somebody listens on that already."""
    with socket.socket() as probe:
        return free_port() if probe.connect_ex((HOST, _PAGE_PORT)) == 0 else _PAGE_PORT


def _log_entries(log: Path) -> list[dict[str, str]]:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
