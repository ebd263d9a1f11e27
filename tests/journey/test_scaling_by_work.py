"""`queue-agent scaler` as a process, beside real agents on the emulated cloud."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from harness import PATIENCE, Scene, until
from queue_agent.testing.process import ServerProcess
from queue_agent.wire.layout import ResultKeys

CHART = Path(__file__).parents[2] / "charts" / "queue-agent"


@contextmanager
def scaler(stage: Scene, **settings: str) -> Iterator[ServerProcess]:
    """A scaler of the stage's queue, which answers as soon as it can."""
    environment = {
        **stage.embedded.environment(),
        **stage.deployment.environment(),
        "QUEUE_AGENT_SCALER_HOST": "127.0.0.1",
        "QUEUE_AGENT_SCALER_PORT": "{port}",
        "QUEUE_AGENT_SCALER_POLL": "0.2",
        "QUEUE_AGENT_SCALER_SETTLE": "0",
        "QUEUE_AGENT_SCALER_JOB_SECONDS": "600",
        **settings,
    }
    command = [sys.executable, "-m", "queue_agent", "scaler"]
    log = stage.folder / "agent-scaler.log"
    with ServerProcess(command, env=environment, log=log) as server:
        yield server


async def answer(server: ServerProcess, wanted: Any = None) -> dict[str, Any]:
    """What it answers, once it does, and if that is wanted."""

    async def asked() -> dict[str, Any] | None:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            response = await client.get(f"{server.url}/pods")
        body: dict[str, Any] = response.json()
        good = response.status_code == 200 and (wanted is None or wanted(body))
        return body if good else None

    found = await until(asked, what="an answer")
    assert found is not None
    return found


async def test_it_asks_for_pods_by_what_agents_jobs_took_and_again_after_a_restart(
    stage: Scene,
) -> None:
    stage.start_agent()
    for number in range(4):
        await stage.publish(stage.job(f"scaled-{number}"))
    for number in range(4):
        await stage.answer(f"scaled-{number}")
    await stage.emptied()
    took = [(await stage.manifest(n))["timings"]["run"] for n in stage.notifications]
    broken = ResultKeys("output/broken", "broken", "0" * 64).manifest
    bucket = stage.cloud.bucket(stage.deployment.bucket)
    await bucket.write(broken, b"{", media_type="application/json")
    for _ in range(2):  # the second one has nothing of the first
        with scaler(stage) as server:
            learned = await answer(server, lambda body: body["job_seconds_by_kind"])
            assert learned["job_seconds_by_kind"].keys() == {"text-to-image"}
            assert min(took) - 0.001 <= learned["job_seconds"] <= max(took) + 0.001
            assert learned["pods"] == 0


async def test_it_asks_for_a_pod_for_each_long_job_and_tells_its_metrics(stage: Scene) -> None:
    with scaler(stage) as server:
        assert (await answer(server))["pods"] == 0
        for number in range(3):
            await stage.send(json.dumps(stage.job(f"waiting-{number}")))
        found = await answer(server, lambda body: body["waiting"] == 3)
        assert (found["pods"], found["job_seconds"]) == (3, 600)
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
            page = (await client.get("/metrics")).text
            ready = await client.get("/readyz")
    assert "queue_agent_scaler_pods{" in page
    assert ready.status_code == 200


async def test_where_the_cloud_refuses_it_says_so_and_keda_has_no_number(stage: Scene) -> None:
    gone = stage.deployment.queue_url + "-gone"
    with scaler(stage, QUEUE_AGENT_QUEUE_URL=gone) as server:

        async def refused() -> bool:
            async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
                ready = await client.get("/readyz")
            return ready.status_code == 503 and "not" in ready.json()["reasons"]["answer"]

        assert await until(refused, what="a reason")
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
            response = await client.get("/pods")
            alive = await client.get("/healthz")
    assert response.status_code == 503
    assert "pods" not in response.json()
    assert alive.status_code == 200


async def test_what_the_chart_tells_keda_is_what_it_answers(stage: Scene) -> None:
    golden = (CHART.parents[1] / "tests" / "charts" / "golden" / "by-work.diff").read_text()
    lines = [line[1:] for line in golden.splitlines() if line.startswith("+")]
    start = next(number for number, line in enumerate(lines) if "metrics-api" in line)
    trigger = yaml.safe_load("\n".join(lines[start : start + 6]))[0]["metadata"]
    with scaler(stage) as server:
        body = await answer(server)
        path = httpx.URL(trigger["url"]).path
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            asked = (await client.get(f"{server.url}{path}")).json()
    value = asked[trigger["valueLocation"]]
    assert isinstance(value, int)
    assert value == body["pods"]
    assert float(trigger["targetValue"]) == 1
