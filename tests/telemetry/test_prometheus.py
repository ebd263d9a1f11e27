"""A real Prometheus scrapes an agent at work, and answers every question of the dashboard."""

import math
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from harness import Scene, until
from queue_agent.server_process import HOST, ServerProcess
from telemetry.chart_files import QUERIES, RULES, asked

PATIENCE = 90.0

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="prometheus is not installed (Debian: apt-get install prometheus)",
)


@contextmanager
def prometheus(folder: Path, agent: ServerProcess) -> Iterator[ServerProcess]:
    """Prometheus with the chart's rules, scraping the agent each second."""
    config = folder / "prometheus.yaml"
    target = agent.url.removeprefix("http://")
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(RULES)],
                "scrape_configs": [
                    {"job_name": "agents", "static_configs": [{"targets": [target]}]}
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


async def answered(server: ServerProcess, query: str) -> bool:
    """Whether there is a number among the query's results."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{server.url}/api/v1/query", params={"query": asked(query)})
    results = answer.raise_for_status().json()["data"]["result"]
    return any(not math.isnan(float(result["value"][1])) for result in results)


@pytest.mark.timeout(180)
async def test_every_query_of_the_dashboard_returns_data(stage: Scene, tmp_path: Path) -> None:
    await let_one_attempt_fail(stage)
    agent = stage.start_agent()
    with prometheus(tmp_path, agent) as server:
        unanswered = dict(QUERIES)

        async def nothing_is_left() -> bool:
            await work(stage)
            for title, query in list(unanswered.items()):
                if await answered(server, query):
                    del unanswered[title]
            return not unanswered

        try:
            await until(nothing_is_left, what="data for every query", timeout=PATIENCE)
        except AssertionError:
            raise AssertionError(f"no data for {sorted(unanswered)}") from None


async def let_one_attempt_fail(stage: Scene) -> None:
    """The runtime answers 500 as often as an attempt asks it."""
    async with httpx.AsyncClient(base_url=stage.settings["QUEUE_AGENT_RUNTIME_URL"]) as client:
        fault = {"kind": "status", "status": 500, "times": 3}
        (await client.post("/fake/faults", json=fault)).raise_for_status()


async def work(stage: Scene) -> None:
    """One job that is done, and one that is refused."""
    name = secrets.token_hex(4)
    await stage.publish(stage.job(f"good-{name}"))
    refused = {"prompt": name, "steps": 2, "sampler_name": "No such sampler"}
    await stage.publish(stage.job(f"bad-{name}", refused))
    await stage.answer(f"good-{name}")
    await stage.answer(f"bad-{name}")
