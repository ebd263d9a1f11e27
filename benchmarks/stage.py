"""The stage of a measurement: clouds, fake GPUs, and the process that is measured."""

import asyncio
import itertools
import json
import math
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import aiohttp

from benchmarks.clouds import BenchCloud, EmulatedAws, jetstream
from benchmarks.latency import LATENCIES
from benchmarks.signer import signer
from benchmarks.wide import install
from queue_agent.testing.process import HOST, ServerProcess, free_port

_PATIENCE = 60.0
_INPUT_BYTES = 500_000
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Subject:
    """A program that works off the queue."""

    name: str
    module: tuple[str, ...]
    checkout: Path | None = None
    """Where its code is; None: here."""
    on_nats: bool = False
    """Whether its cloud is NATS; else it is the emulated AWS."""
    settings: tuple[tuple[str, str], ...] = ()
    """Its own beside those of the load."""
    signs: bool = False
    """Whether it signs what it delivers."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", *self.module]

    @property
    def environment(self) -> dict[str, str]:
        if self.checkout is None:
            return dict(self.settings)
        path = f"{self.checkout}{os.pathsep}{self.checkout / 'runtimes'}"
        # and not the current folder
        return {**dict(self.settings), "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


AGENT = Subject("agent", ("queue_agent", "run"))
AS_MADE = replace(AGENT, name="files as made", settings=(("QUEUE_AGENT_OUTPUT_MARK", "false"),))
CONVERTING = replace(
    AGENT,
    name="converting",
    settings=(
        ("QUEUE_AGENT_OUTPUT_FORMAT", "webp"),
        ("QUEUE_AGENT_OUTPUT_METADATA", "minimal"),
        ("QUEUE_AGENT_OUTPUT_THUMBNAIL", "true"),
    ),
)
SIGNING = replace(AGENT, name="signing", signs=True)
SIGNING_CONVERTED = replace(CONVERTING, name="converting, signing", signs=True)
ON_NATS = replace(AGENT, name="agent on NATS", on_nats=True)
SEQUENTIAL = Subject("sequential", ("benchmarks.sequential",))
BARE = Subject("bare loop", ("benchmarks.bare",))


@dataclass(frozen=True)
class Load:
    """What a subject has to do. Durations are in seconds."""

    latency: str
    gpu_seconds: float
    jobs: int
    images: int = 1
    image_bytes: int = 500_000
    input_bytes: int | None = None
    """None: as the latency's profile says."""
    lanes: int = 1
    """Jobs that a GPU works on at a time."""
    workers: int = 1
    """Processes on the same queue, each with a GPU of its own."""
    utilisation: float | None = None
    """Part of the GPU's capacity at which jobs arrive, at random; None: all at once."""
    settings: dict[str, str] = field(default_factory=dict)

    def but(self, *, jobs: int) -> Self:
        """The same load with another number of jobs."""
        return replace(self, jobs=jobs)

    @property
    def input_size(self) -> int:
        if self.input_bytes is not None:
            return self.input_bytes
        return _INPUT_BYTES if LATENCIES[self.latency].with_input else 0


@dataclass(frozen=True)
class Usage:
    """What the measured processes took."""

    cpu_seconds: float
    peak_rss_mb: float
    machine_cpu_seconds: float
    """Of all programs of the machine, the benchmark's servers included."""
    elapsed_seconds: float


@dataclass(frozen=True)
class Observation:
    """Everything that was seen of one load, by the monotonic clock."""

    load: Load
    runs: list[list[dict[str, Any]]]
    """Per GPU: who used it from when to when."""
    cloud: dict[str, Any]
    sent: dict[str, float]
    usage: Usage
    first_poll: float
    """Seconds from the start of the process to its first request for messages; NaN if unseen."""


@dataclass(frozen=True)
class _Snapshot:
    """What the kernel counts, at one moment."""

    at: float
    cpu: float
    machine: float
    peak_rss_mb: float

    @classmethod
    def of(cls, workers: Sequence[ServerProcess]) -> Self:
        return cls(
            at=time.monotonic(),
            cpu=_cpu_seconds(workers),
            machine=_machine_cpu_seconds(),
            peak_rss_mb=max(map(_peak_rss_mb, workers)),
        )

    def usage_until(self, later: Self) -> Usage:
        return Usage(
            cpu_seconds=later.cpu - self.cpu,
            peak_rss_mb=later.peak_rss_mb,
            machine_cpu_seconds=later.machine - self.machine,
            elapsed_seconds=later.at - self.at,
        )


@dataclass
class BenchServers:
    """The servers, which serve one measurement after the other."""

    folder: Path
    aws: EmulatedAws
    gpus: list[ServerProcess]
    http: aiohttp.ClientSession
    _count: int = 0

    async def observe(self, subject: Subject, load: Load, *, warm_up: int = 3) -> Observation:
        """Start the subject, warm it up, put the load on it, end it."""
        async with self._cloud(subject, load) as cloud:
            await self._prepare(cloud, load)
            started = time.monotonic()
            with self._workers(cloud, subject, load) as workers:
                warming = self._jobs(load, warm_up * load.workers, "warm-up")
                await cloud.send([body for _, body in warming])
                await self._emptied(cloud, workers)
                # a slow starter is no slow worker
                await cloud.has_polled(_accounts(subject, load))
                await self._forget(cloud, load)
                before = _Snapshot.of(workers)
                sent = await self._put_on(cloud, load)
                await self._emptied(cloud, workers)
                usage = before.usage_until(_Snapshot.of(workers))
            record = await cloud.record()
        runs = [await self._runs(gpu) for gpu in self.gpus[: load.workers]]
        first_poll = min(record["first_receive"].values(), default=math.nan) - started
        return Observation(load, runs, record, sent, usage, first_poll)

    @asynccontextmanager
    async def _cloud(self, subject: Subject, load: Load) -> AsyncIterator[BenchCloud]:
        if subject.on_nats:
            async with jetstream(self.folder / "nats", load.latency) as nats:
                yield nats
        else:
            await self.aws.reset(load.latency)
            yield self.aws

    async def _prepare(self, cloud: BenchCloud, load: Load) -> None:
        for _ in range(load.workers - len(self.gpus)):
            self.gpus.append(_gpu().start())
        await self._forget(cloud, load)
        if load.input_size:  # made on first use
            async with self.http.get(self._input_url(load)) as answer:
                await answer.read()

    async def _forget(self, cloud: BenchCloud, load: Load) -> None:
        await cloud.mark()
        for gpu in self.gpus[: load.workers]:
            order = {
                "gpu_seconds": load.gpu_seconds,
                "lanes": load.lanes,
                "image_bytes": load.image_bytes,
            }
            async with self.http.post(f"{gpu.url}/fake/reset", json=order) as answer:
                await answer.read()

    async def _runs(self, gpu: ServerProcess) -> list[dict[str, Any]]:
        async with self.http.get(f"{gpu.url}/fake/runs") as answer:
            runs: list[dict[str, Any]] = await answer.json()
        return runs

    @contextmanager
    def _workers(
        self, cloud: BenchCloud, subject: Subject, load: Load
    ) -> Iterator[list[ServerProcess]]:
        self._count += 1
        with ExitStack() as stack:
            workers = []
            for account, gpu in zip(_accounts(subject, load), self.gpus, strict=False):
                worker = ServerProcess(
                    subject.command,
                    env=cloud.environment(account)
                    | self._environment(load, gpu)
                    | subject.environment
                    | (signer(self.folder) if subject.signs else {}),
                    log=self.folder / f"{self._count}-{account}.log",
                )
                worker.spawn()
                stack.callback(worker.kill)  # nothing is left to drain
                workers.append(worker)
            yield workers

    def _environment(self, load: Load, gpu: ServerProcess) -> dict[str, str]:
        adapter = {"QUEUE_AGENT_RUNTIME": "webui"}
        if load.lanes > 1:
            adapter = install(self.folder / "adapter")
        return {
            "QUEUE_AGENT_RUNTIME_URL": gpu.url,
            "QUEUE_AGENT_REFERENCE_ALLOW": "127.0.0.1/32",
            "QUEUE_AGENT_HEALTH_HOST": HOST,
            "QUEUE_AGENT_HEALTH_PORT": str(free_port()),
            "QUEUE_AGENT_LOG_FORMAT": "json",
            **adapter,
            **load.settings,
        }

    def _jobs(self, load: Load, count: int, kind: str) -> list[tuple[str, str]]:
        """Ids and bodies."""
        named = [f"{kind}-{number}" for number in range(count)]
        return [(job_id, json.dumps(self._job(load, job_id))) for job_id in named]

    def _job(self, load: Load, job_id: str) -> dict[str, Any]:
        content: dict[str, Any] = {
            "prompt": job_id,
            "steps": 20,
            "width": 512,
            "height": 512,
            "seed": 1,
        }
        if load.images > 1:
            content["batch_size"] = load.images
        if load.input_size:
            content["init_images"] = [self._input_url(load)]
        task_type = "image-to-image" if load.input_size else "text-to-image"
        return {"metadata": {"id": job_id, "tasktype": task_type}, "content": content}

    def _input_url(self, load: Load) -> str:
        return f"{self.aws.url}/input/{load.input_size}/source.png"

    async def _put_on(self, cloud: BenchCloud, load: Load) -> dict[str, float]:
        jobs = self._jobs(load, load.jobs, "job")
        if load.utilisation is None:
            moment = await cloud.send([body for _, body in jobs])
            return {job_id: moment for job_id, _ in jobs}
        chance = random.Random(load.jobs)  # noqa: S311  the same arrivals for every subject
        mean = load.gpu_seconds / load.utilisation / load.workers
        sent = {}
        due = time.monotonic()
        for job_id, body in jobs:
            sent[job_id] = await cloud.send([body])
            due += chance.expovariate(1 / mean)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        return sent

    async def _emptied(self, cloud: BenchCloud, workers: Sequence[ServerProcess]) -> None:
        """Wait until every message is deleted.

        Raises:
            RuntimeError: that takes longer than can be right.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                await cloud.emptied()
        except TimeoutError:
            tails = [worker.log.read_text()[-2000:] for worker in workers if worker.log]
            raise RuntimeError("the queue did not empty:\n" + "\n\n".join(tails)) from None


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[BenchServers]:
    """A stage with one GPU; more are added when a load wants them, and NATS when a subject does."""
    cloud = ServerProcess(
        [sys.executable, "-m", "benchmarks.cloud", "--port", "{port}"], log=folder / "cloud.log"
    )
    gpus = [_gpu()]
    try:
        for server in (cloud, *gpus):
            server.spawn()
        for server in (cloud, *gpus):
            server.wait_until_listening()
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            yield BenchServers(folder, EmulatedAws(cloud.url, http), gpus, http)
    finally:
        for server in (cloud, *gpus):
            server.stop()


def _accounts(subject: Subject, load: Load) -> list[str]:
    return [f"{subject.name}-{number}" for number in range(load.workers)]


def _gpu() -> ServerProcess:
    return ServerProcess([sys.executable, "-m", "benchmarks.runtime", "--port", "{port}"])


def _cpu_seconds(workers: Sequence[ServerProcess]) -> float:
    """User and system time so far, of their own processes, too, dead ones included.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    total = 0
    for pid in itertools.chain.from_iterable(_family(worker.pid) for worker in workers):
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / _TICKS


def _family(pid: int) -> list[int]:
    """A process, and those that it and these have started, by whichever thread, and that live."""
    found = [pid]
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children = (thread / "children").read_text().split()
            found += itertools.chain.from_iterable(map(_family, map(int, children)))
    return found


def _machine_cpu_seconds() -> float:
    """Of all processors, other tenants included: https://man7.org/linux/man-pages/man5/proc_stat.5.html"""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (
        int(field) for field in Path("/proc/stat").read_text().split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS


def _peak_rss_mb(worker: ServerProcess) -> float:
    """https://man7.org/linux/man-pages/man5/proc_pid_status.5.html"""
    found = [_peak_of(pid) for pid in _family(worker.pid)]
    if not found[0]:
        raise RuntimeError("the kernel does not tell the peak of the memory")
    return sum(found)


def _peak_of(pid: int) -> float:
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0
