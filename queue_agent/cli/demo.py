"""`queue-agent demo`: the main job end to end on this machine, with nothing but this package.

Child processes on the loopback interface: a cloud (topic → filtered queue with dead letters,
notification topic, bucket), the bundled diffusers runtime, the agent and, once the job has been
shown, the gateway with its page.
"""

import asyncio
import importlib.util
import json
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx
from rich.console import Console

from queue_agent.cli.demo_clouds import KINDS, CloudName, DemoCloud, DemoCloudKind
from queue_agent.cli.stage_lines import StageLines
from queue_agent.client import Client, make_job
from queue_agent.cloud import Cloud, Deployment
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.tasks import background
from queue_agent.testing.process import HOST, ServerProcess, free_port
from queue_agent.wire.errors import SettingsError
from queue_agent.wire.job import Job
from queue_agent.wire.notification import Notification

_RUNTIME_NAME: Final = "sdruntime"
"""As in README, whose commands run in a second shell as they stand."""
_TINY: Final = "tiny"
_SEED: Final = 104
"""A picture that is the same each time can be compared."""
_LAST_LINES: Final = 10
_LAST_LOOK: Final = 5
"""Seconds until the agent's last step is no more waited for."""
_LOOK: Final = 0.05
"""Seconds between two looks at what children say."""
_NEEDED: Final = ("torch", "diffusers", "transformers", "fastapi", "uvicorn")
"""Modules of the extra, whichever the cloud."""
_STEPS: Final = {
    "received": "the agent received the message",
    "prepared": "translated for the runtime",
    "running": "the runtime began",
    "completed": "images and manifest are in the bucket",
    "notified": "subscribers were notified",
    "acknowledged": "the message was deleted",
}


def demo(
    *, cloud: CloudName, prompt: str, model: str | None, steps: int, output: Path, once: bool
) -> bool:
    """Show one job's way, then, unless `once`, the page until Ctrl-C; whether it was completed.

    Raises:
        SettingsError: what it needs is not installed.
    """
    _check_installed(KINDS[cloud])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells' background jobs ignore it
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    console = Console()
    with ExitStack() as stack, TemporaryDirectory(prefix="queue-agent-") as work:
        children = _Children(Path(work), stack, _printer(console))
        place = KINDS[cloud].in_folder(Path(work) / "cloud")
        children.add("cloud", place.server, lasting=place.lasting)
        command = [sys.executable, "-m", "queue_agent", "serve-diffusers", "--port", "{port}"]
        # Of a model this small more threads only wait for each other.
        threads = {} if model else {"OMP_NUM_THREADS": "1"}
        runtime = ServerProcess([*command, "--model", model or _TINY], env=threads)
        children.add("runtime", runtime)
        job = make_job(
            {"prompt": prompt, "steps": steps, "seed": _SEED},
            runtime=_RUNTIME_NAME,
            task_type="text-to-image",
        )
        show = _Show(console, children, place, runtime, model or _TINY)
        try:
            return asyncio.run(show.run(job, output, once=once))
        except _ChildEnded as ended:
            console.print(f"[red]✗[/red] {ended.what}", highlight=False, soft_wrap=True)
            console.print(ended.last_lines, highlight=False, markup=False, soft_wrap=True)
            return False


def _check_installed(kind: DemoCloudKind) -> None:
    needed = (*kind.modules, *_NEEDED)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"queue-agent demo needs {', '.join(missing)}; "
            f"install with: pip install 'sd-queue-agent[{kind.extra}]'"
        )


class _ChildEnded(Exception):
    """A process that the demo needs has ended."""

    def __init__(self, name: str, code: int, log: Path) -> None:
        self.what = f"The {name} ended with code {code}. The last that it said:"
        lines = log.read_text(errors="replace").splitlines()
        # uvicorn's own are of no interest
        told = [line for line in lines if line.strip() and not line.startswith("INFO: ")]
        self.last_lines = "\n".join(told[-_LAST_LINES:]) or "nothing"
        super().__init__(self.what)


@dataclass
class _Children:
    """The demo's processes; each has a log in the folder."""

    folder: Path
    stack: ExitStack
    tell: Callable[[str], None]
    named: dict[str, ServerProcess] = field(default_factory=dict)
    lasting: set[str] = field(default_factory=set)

    def add(self, name: str, child: ServerProcess, *, lasting: bool = False) -> None:
        """Start a child, to be ended with the demo.

        One that is `lasting`, as what it knows lies elsewhere or on disk, is started again when
        somebody has ended it.
        """
        child.log = self.folder / f"{name}.log"
        child.log.touch()
        child.spawn()
        self.stack.callback(child.stop)
        self.named[name] = child
        if lasting:
            self.lasting.add(name)

    async def watch(self) -> None:
        """Wait for a child that ends.

        Raises:
            _ChildEnded: one has.
        """
        while True:
            for name, child in self.named.items():
                if child.lives or child.log is None:
                    continue
                code = child.wait()
                if name not in self.lasting or code > 0:  # of its own accord
                    raise _ChildEnded(name, code, child.log)
                self.tell(f"The {name} was ended; it is started again, and nothing is lost.")
                child.spawn()
            await asyncio.sleep(_LOOK)


@dataclass
class _Show:
    """The part of the demo that has an audience."""

    console: Console
    children: _Children
    place: DemoCloud
    runtime: ServerProcess
    model: str

    async def run(self, job: Job, output: Path, *, once: bool) -> bool:
        """Publish the job, show its way, leave what came of it in the folder, open the page.

        Raises:
            _ChildEnded: one of its processes has ended before.
        """
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self.children.watch())
                completed = await self._run(job, output, once=once)
                watch.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return completed

    async def _run(self, job: Job, output: Path, *, once: bool) -> bool:
        async with AsyncExitStack() as stack:
            with StageLines(self.console) as stages:
                stages.doing(f"starting {self.place.name}")
                deployed = self.place.deployed(_RUNTIME_NAME)
                cloud, deployment = await stack.enter_async_context(deployed)
                stages.done(f"{self.place.name} runs: topics, queue and bucket are made")
                agent = self._start_agent(deployment)
                await self._until_ready(stages, agent)
                client = _client(cloud, deployment)
                async with client.notifications(job_id=job.id) as notifications:
                    published = datetime.now(UTC)  # the agent may have it before we know
                    await client.submit(job)
                    where = deployment.job_topic
                    stages.done(f"job {job.id} was published to {where}", published)
                    final = await self._follow(stages, agent, notifications, job)
            self.console.print()
            self.console.print_json(final.to_json())
            paths = await client.save(final, output)
            paths.append(output / "notification.json")
            paths[-1].write_text(final.to_json())
            for path in paths:
                self._tell(f"saved [bold green]{path}[/bold green]")
            self._tell_of_models()
            if not once:
                await self._open_page(deployment, agent, job)
        return final.status == "completed"

    def _start_agent(self, deployment: Deployment) -> ServerProcess:
        settings = {
            **self.place.environment,
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
        agent = ServerProcess([sys.executable, "-m", "queue_agent", "run"], env=settings)
        self.children.add("agent", agent, lasting=True)
        return agent

    async def _until_ready(self, stages: StageLines, agent: ServerProcess) -> None:
        stages.doing("starting the agent")
        await _answered(f"{agent.url}/healthz")
        stages.done("the agent runs")
        stages.doing(f"loading the model {self.model}")
        await _answered(f"{self.runtime.url}/health")
        stages.done(f"the runtime has loaded the model {self.model}")

    async def _follow(
        self,
        stages: StageLines,
        agent: ServerProcess,
        notifications: AsyncIterator[Notification],
        job: Job,
    ) -> Notification:
        """Show the agent's steps and the runtime's progress until the final notification."""
        steps: int = job.content["steps"]  # type: ignore[assignment]
        acknowledged = asyncio.Event()
        async with background(_show_log(stages, agent.log, acknowledged)):
            async for notification in notifications:
                if notification.status != "running":
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LAST_LOOK):
                            await acknowledged.wait()
                    return notification
                if notification.progress:
                    stages.step(round(notification.progress * steps), steps)
        raise RuntimeError("the notifications ended")

    async def _open_page(self, deployment: Deployment, agent: ServerProcess, job: Job) -> None:
        """Serve the gateway until Ctrl-C, and say what else can be done meanwhile."""
        settings = {
            **self.place.environment,
            **deployment.environment(),
            "QUEUE_AGENT_JOB_TOPIC_ARN": deployment.job_topic,
        }
        command = [sys.executable, "-m", "queue_agent", "gateway"]
        gateway_port = {"QUEUE_AGENT_GATEWAY_PORT": "{port}"}
        gateway = ServerProcess(command, port=_page_port(), env={**settings, **gateway_port})
        self.children.add("gateway", gateway)
        with StageLines(self.console) as stages:
            stages.doing("starting the gateway")
            await _answered(f"{gateway.url}/healthz")
        self._tell("\nFrom a second shell, by this demo's cloud:\n")
        exports = _exports({**settings, "GATEWAY": gateway.url})  # for curl
        for command_line in (*exports, "", *_commands_to_try(job)):
            self.console.print(f"    {command_line}", markup=False, highlight=False, soft_wrap=True)
        self._tell(f"\nthe agent's metrics: {agent.url}/metrics")
        self._tell(f"the runtime's metrics: {self.runtime.url}/metrics")
        self._tell(f"the page: [bold]{gateway.url}[/bold]  (Ctrl-C ends the demo)")
        with suppress(asyncio.CancelledError):  # how Ctrl-C arrives
            await asyncio.Event().wait()

    def _tell_of_models(self) -> None:
        if self.model == _TINY:
            self._tell(
                "\nThe tiny model knows circles, squares, triangles, stars and hearts in ten"
                " colours, such as a large yellow star on purple.\nFor real pictures name another,"
                " a diffusers folder, a .safetensors file or an id of the hub:\n"
            )
            self._tell("    make demo MODEL=stable-diffusion-v1-5/stable-diffusion-v1-5")

    def _tell(self, text: str) -> None:
        _printer(self.console)(text)


def _printer(console: Console) -> Callable[[str], None]:
    return partial(console.print, highlight=False, soft_wrap=True)


def _client(cloud: Cloud, deployment: Deployment) -> Client:
    return Client(
        cloud,
        job_topic=deployment.job_topic,
        notification_topic=deployment.notification_topic,
    )


async def _show_log(stages: StageLines, log: Path | None, acknowledged: asyncio.Event) -> None:
    """Tell of the steps that the agent logs, by its own clock."""
    shown = 0
    while log is not None:
        entries = _log_entries(log)
        for entry in entries[shown:]:
            if entry["event"] in _STEPS:
                stages.done(_STEPS[entry["event"]], datetime.fromisoformat(entry["timestamp"]))
            if entry["event"] == "acknowledged":
                acknowledged.set()
        shown = len(entries)
        await asyncio.sleep(_LOOK)


async def _answered(url: str) -> None:
    """Wait until a server answers well."""
    async with httpx.AsyncClient() as client:
        while True:
            with suppress(httpx.HTTPError):
                if (await client.get(url)).is_success:
                    return
            await asyncio.sleep(_LOOK)


def _exports(settings: Mapping[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]


def _commands_to_try(job: Job) -> list[str]:
    program = _program()
    submit = f"submit --runtime {_RUNTIME_NAME} --prompt 'large yellow star on purple'"
    options = f"--seed {_SEED} --wait --output demo-output"
    return [f"{program} {submit} {options}", f"{program} status {job.id}"]


def _program() -> str:
    """How a second shell in this folder calls what runs here."""
    beside = Path(sys.executable).with_name("queue-agent")
    found = shutil.which("queue-agent")
    if found and Path(found) == beside:
        return "queue-agent"
    if not beside.exists():
        return f"{shlex.quote(sys.executable)} -m queue_agent"
    with suppress(ValueError):
        beside = beside.relative_to(Path.cwd())
    return shlex.quote(str(beside))


def _page_port() -> int:
    """The gateway's usual port, or another where somebody listens on that already."""
    usual: int = GatewaySettings.model_fields["port"].default
    with socket.socket() as probe:
        return free_port() if probe.connect_ex((HOST, usual)) == 0 else usual


def _log_entries(log: Path) -> list[dict[str, str]]:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
