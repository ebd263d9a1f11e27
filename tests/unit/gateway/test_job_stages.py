"""What is done before the run of a job is shown with it, until the run begins."""

import asyncio
from typing import Any

import httpx
import pytest

from gateway_bench import Gateways, client_of
from queue_agent.cloud import Ordering
from queue_agent.wire.notification import Notification


async def shown(api: httpx.AsyncClient, job_id: str, progress: float | None) -> dict[str, Any]:
    while True:
        view: dict[str, Any] = (await api.get(f"/v1/jobs/{job_id}")).json()
        if view["status"] == "running" and view["progress"] == progress:
            return view
        await asyncio.sleep(0)


@pytest.mark.parametrize("stage", ["fetching model sdxl.safetensors", None])
async def test_a_job_is_shown_with_the_stage_that_its_progress_is_of(
    gateways: Gateways, stage: str | None
) -> None:
    app = await gateways.start()
    topic = gateways.cloud.topic("notifications")
    async with client_of(app) as api:
        asked = await api.post("/v1/jobs", json={"content": {"prompt": "a"}})
        job_id = asked.json()["id"]
        assert asked.json()["stage"] is None
        for told, progress in ((stage, 0.25), (None, 0.5)):
            note = Notification(
                runtime="sdruntime",
                id=job_id,
                status="running",
                result=False,
                progress=progress,
                stage=told,
            )
            await topic.publish(note.to_json(), note.attributes(), ordering=Ordering(job_id))
            async with asyncio.timeout(90):
                assert (await shown(api, job_id, progress))["stage"] == told
