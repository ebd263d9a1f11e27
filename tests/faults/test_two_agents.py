"""Two agents and one message: the heartbeat keeps it, and where that fails one result wins."""

import signal
from pathlib import Path

from faults.rig import Rig, rigged
from faults.striking import HEARTBEAT
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.fault_proxy import Status
from queue_agent.testing.nats import NatsServer
from queue_agent.testing.process import ServerProcess


async def test_a_job_of_twelve_seconds_with_a_lease_of_five_is_generated_once_by_two_agents(
    any_cloud: EmbeddedCloud | NatsServer, webui: ServerProcess, tmp_path: Path
) -> None:
    async with rigged(any_cloud, webui, tmp_path, visibility_timeout=5) as rig:
        await rig.agent()
        await rig.agent()
        await rig.publish("twelve", steps=600)
        (await rig.settled()).check()
        assert rig.cloud.count(HEARTBEAT) > 3


async def test_jobs_published_twice_are_generated_once_by_two_idle_agents(
    any_cloud: EmbeddedCloud | NatsServer, webui: ServerProcess, tmp_path: Path
) -> None:
    async with rigged(any_cloud, webui, tmp_path, visibility_timeout=20) as rig:
        for _ in range(2):
            await rig.agent()
        for number in range(8):
            (job_id,) = await rig.publish(f"twice-{number}", steps=60)
            await rig.publish_as(job_id, steps=60)
            await rig.scene.answer(job_id, nth=2)
            assert {answer["redelivered"] for answer in rig.scene.answers(job_id)} == {False, True}
        (await rig.settled()).check(renotified=8)


async def test_a_message_that_returns_to_its_own_agent_is_generated_once(
    any_brief_rig: Rig,
) -> None:
    await any_brief_rig.agent()
    with any_brief_rig.cloud.fault(Status(503), HEARTBEAT):
        await any_brief_rig.publish("returning", steps=200)
        (await any_brief_rig.settled()).check(renotified=1)


async def test_of_two_agents_at_the_same_job_one_result_wins(any_brief_rig: Rig) -> None:
    await any_brief_rig.agent()
    with any_brief_rig.cloud.fault(Status(503), HEARTBEAT):
        (job_id,) = await any_brief_rig.publish("contested", steps=200)
        await any_brief_rig.running(job_id)
        await any_brief_rig.agent()
        balance = await any_brief_rig.settled()
    balance.check(beyond_need=1, renotified=1)
    manifests = {str(n["images"]) for n in any_brief_rig.scene.answers(job_id)}
    assert len(manifests) == 1


async def test_an_agent_that_stood_still_does_not_answer_a_second_time_as_if_first(
    any_brief_rig: Rig,
) -> None:
    """SIGSTOP is what a blocked event loop, a throttled or a frozen container looks like."""
    frozen = await any_brief_rig.agent()
    (job_id,) = await any_brief_rig.publish("frozen", steps=100)
    await any_brief_rig.running(job_id)
    frozen.send(signal.SIGSTOP)
    await any_brief_rig.agent()
    await any_brief_rig.scene.answer(job_id)
    frozen.send(signal.SIGCONT)
    await any_brief_rig.scene.answer(job_id, nth=2)
    (await any_brief_rig.settled()).check(beyond_need=1, renotified=1)
