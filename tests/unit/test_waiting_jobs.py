"""`queue-agent check` tells of waiting jobs for other runtimes, and leaves all where they were."""

import json

import pytest

from queue_agent.cli.waiting import other_runtimes
from queue_agent.cloud.memory import MemoryCloud


def job(runtime: str | None) -> str:
    metadata = {"id": "a", "tasktype": "text-to-image", "runtime": runtime}
    given = {name: value for name, value in metadata.items() if value}
    return json.dumps({"metadata": given, "content": {"prompt": "x"}})


async def told(*bodies: str, looks: int = 1) -> str:
    cloud = MemoryCloud()
    names = cloud.deploy("webui", max_receives=2)
    queue = cloud.queue(names.queue_url)
    for body in bodies:
        await queue.send(body, {})
    for _ in range(looks):
        found = await other_runtimes(queue, "webui")
        assert sorted(queue.bodies) == sorted(bodies)
        assert (await queue.backlog()).in_flight == 0
    return found


async def test_jobs_for_other_runtimes_are_named_with_what_to_do() -> None:
    found = await told(job("comfy"), job("comfy"), job("flux"), job("webui"), job(None))
    assert "comfy (2), flux (1)" in found
    assert '{"runtime": ["webui"]}' in found


@pytest.mark.parametrize("body", [job("webui"), job(None), "no JSON", "[]"])
async def test_other_messages_are_passed_over(body: str) -> None:
    assert await told(body) == ""


async def test_looking_often_takes_no_job_from_the_queue() -> None:
    assert "comfy" in await told(job("comfy"), looks=5)
