"""A real Prometheus scrapes the running demo, and answers every question of the dashboard."""

import asyncio
import math
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway_site import finished
from harness import PATIENCE, until
from queue_agent.testing.process import HOST, ServerProcess
from telemetry.chart_files import QUERIES, RULES, asked

SMALL = {"width": 64, "height": 64}
OF_THE_RUNTIME = ("diffusers_images_total", "diffusers_steps_total", "diffusers_job_seconds_count")
ADDRESSES = re.compile(
    r"the agent's metrics: http://(?P<agent>\S+)/metrics\s+"
    r"the runtime's metrics: http://(?P<runtime>\S+)/metrics\s+"
    r"the page: (?P<page>http://\S+)"
)

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="prometheus is not installed (Debian: apt-get install prometheus)",
)


@dataclass(frozen=True)
class Demo:
    """The demo as its user sees it."""

    process: ServerProcess
    agent: str
    """Host and port of its metrics, as for the runtime."""
    runtime: str
    page: str

    async def submit(self, client: httpx.AsyncClient, **content: Any) -> str:
        """Publish a job as the page does; its id."""
        body = {"content": {"prompt": "a lighthouse", "steps": 2, **SMALL, **content}}
        job = await client.post(f"{self.page}/v1/jobs", json=body)
        return str(job.raise_for_status().json()["id"])

    async def status(self, job_id: str) -> str:
        """How a job ended."""
        async with httpx.AsyncClient(base_url=self.page, timeout=PATIENCE) as page:
            return str((await finished(page, job_id))["status"])


@asynccontextmanager
async def demo(folder: Path) -> AsyncIterator[Demo]:
    """The demo with its first job done; leaves no process behind."""
    command = [sys.executable, "-m", "queue_agent", "demo", "--page", "--output", str(folder)]
    log = folder / "demo.log"
    process = ServerProcess(command, env={"STEPS": "2", "COLUMNS": "200"}, log=log)
    process.spawn()

    async def addresses() -> re.Match[str] | None:
        assert process.lives, f"the demo ended:\n{log.read_text()}"
        return ADDRESSES.search(log.read_text())

    try:
        found = await until(addresses, what="the demo's addresses", timeout=2 * PATIENCE)
        assert found
        yield Demo(process, found["agent"], found["runtime"], found["page"])
    finally:
        started = children(process.pid)
        await asyncio.to_thread(process.stop, PATIENCE)
        assert still_running(started) == []


@contextmanager
def prometheus(folder: Path, *targets: str) -> Iterator[ServerProcess]:
    """Prometheus with the chart's rules, scraping the targets each second."""
    config = folder / "prometheus.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(RULES)],
                "scrape_configs": [
                    {"job_name": "demo", "static_configs": [{"targets": list(targets)}]}
                ],
            }
        )
    )
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address={HOST}:{{port}}",
    ]
    with ServerProcess(command, log=folder / "prometheus.log") as server:
        yield server


def children(parent: int) -> dict[int, str]:
    """The processes that a process has started, with their command lines."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def still_running(processes: dict[int, str]) -> list[str]:
    """The command lines of those that have not ended."""
    return [line for pid, line in processes.items() if Path(f"/proc/{pid}").exists()]


async def values(client: httpx.AsyncClient, server: ServerProcess, query: str) -> list[float]:
    """The numbers among the query's results."""
    answer = await client.get(f"{server.url}/api/v1/query", params={"query": asked(query)})
    results = answer.raise_for_status().json()["data"]["result"]
    numbers = [float(result["value"][1]) for result in results]
    return [number for number in numbers if not math.isnan(number)]


async def test_every_query_of_the_dashboard_returns_data_of_the_running_demo(
    tmp_path: Path,
) -> None:
    async with demo(tmp_path) as shown, httpx.AsyncClient(timeout=PATIENCE) as client:
        with prometheus(tmp_path, shown.agent, shown.runtime) as server:
            # the demo has no scaler, and signs nothing
            unanswered = {
                title: query
                for title, query in QUERIES.items()
                if "_scaler_" not in query and "_certificate_" not in query
            }

            async def let_it_work() -> None:
                good, bad = await shown.submit(client), await shown.submit(client, steps=100_000)
                assert await shown.status(good) == "completed"
                assert await shown.status(bad) == "failed"

            async def ask() -> None:
                for title, query in list(unanswered.items()):
                    # where nothing is wrong, a panel of what goes wrong shows no line
                    if await values(client, server, query.removesuffix(" > 0")):
                        del unanswered[title]

            async def only_failed_attempts_are_left() -> bool:
                await let_it_work()
                await ask()
                return all("tried again" in title for title in unanswered)

            async def nothing_is_left() -> bool:
                await stop_what_runs(client, shown)
                await ask()
                return not unanswered

            try:
                await until(only_failed_attempts_are_left, what="data", timeout=2 * PATIENCE)
                assert await values(client, server, 'up{job="demo"}') == [1, 1]
                for metric in OF_THE_RUNTIME:
                    assert sum(await values(client, server, metric)) > 0, metric
                await shown.submit(client, steps=500, width=512, height=512)
                await until(nothing_is_left, what="data", timeout=2 * PATIENCE)
            except AssertionError as error:
                raise AssertionError(f"no data for {sorted(unanswered)}") from error


async def stop_what_runs(client: httpx.AsyncClient, shown: Demo) -> None:
    """At the runtime, behind the agent's back, which tries it again and then gives it back."""
    jobs = (await client.get(f"http://{shown.runtime}/v1/jobs")).json()["data"]
    for job in jobs:
        await client.delete(f"http://{shown.runtime}/v1/jobs/{job['id']}")
