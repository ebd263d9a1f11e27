"""`queue-agent check` tells of waiting jobs for other runtimes, and leaves all where they were."""

import json

import pytest

from queue_agent.cli.waiting import Waiting, look
from queue_agent.cloud.memory import MemoryCloud


def job(runtime: str | None) -> str:
    metadata = {"id": "a", "tasktype": "text-to-image", "runtime": runtime}
    given = {name: value for name, value in metadata.items() if value}
    return json.dumps({"metadata": given, "content": {"prompt": "x"}})


async def seen(*bodies: str, looks: int = 1, max_receives: int | None = 2) -> Waiting:
    cloud = MemoryCloud()
    names = cloud.deploy("webui", max_receives=max_receives)
    queue = cloud.queue(names.queue_url)
    for body in bodies:
        await queue.send(body, {})
    for _ in range(looks):
        found = await look(queue, "webui", most=2)
        assert sorted(queue.bodies) == sorted(bodies)
        assert (await queue.backlog()).in_flight == 0
    return found


async def told(*bodies: str, looks: int = 1) -> str:
    return (await seen(*bodies, looks=looks)).warning


async def test_jobs_for_other_runtimes_are_named_with_what_to_do() -> None:
    found = await told(job("comfy"), job("comfy"), job("flux"), job("webui"), job(None))
    assert "comfy (2), flux (1)" in found
    assert '{"runtime": ["webui"]}' in found


@pytest.mark.parametrize("body", [job("webui"), job(None), "no JSON", "[]"])
async def test_other_messages_are_passed_over(body: str) -> None:
    assert await told(body) == ""


async def test_looking_often_takes_no_job_from_the_queue() -> None:
    assert "comfy" in await told(job("comfy"), looks=5)


async def test_how_many_were_looked_at_is_told_since_each_was_delivered_by_that() -> None:
    assert (await seen(job("webui"), job("comfy"), "no JSON")).looked_at == 3
    assert await seen() == Waiting(0, "")


async def test_without_a_dead_letter_queue_no_job_is_used_up_by_looking_often() -> None:
    cloud = MemoryCloud()
    names = cloud.deploy("webui", max_receives=None)
    queue = cloud.queue(names.queue_url)
    await queue.send(job("comfy"), {})
    for _ in range(5):
        await look(queue, "webui", most=2)
    (message,) = await queue.receive(1, wait=0, visibility_timeout=30)
    assert message.receive_count <= 2
