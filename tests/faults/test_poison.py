"""Messages that can never succeed, among good ones; and those that were tried too often."""

import secrets
from pathlib import Path

import pytest

from faults.rig import BRIEF, Rig, rigged
from faults.striking import GENERATIONS, Hold, both, naming
from harness import until
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.fault_proxy import Status
from queue_agent.testing.nats import NatsServer
from queue_agent.testing.process import ServerProcess

FAILED = {"failed"}
ATTEMPTS = 2


async def _kill_in_the_middle(rig: Rig, *, max_receives: int) -> str:
    """Publish a job and kill the agent that gets to run it; the job's id."""
    agent = await rig.agent(QUEUE_AGENT_MAX_RECEIVES=str(max_receives))
    hold = Hold()
    with rig.runtime.fault(hold, GENERATIONS):
        (job_id,) = await rig.publish("deadly", ends={"completed", "failed"})
        await hold.arrived.wait()
        agent.kill()
        await agent.ended()
    return job_id


@pytest.mark.parametrize("dead_letters", [True, False], ids=["dead letters", "no dead letters"])
async def test_poison_messages_are_answered_and_the_good_ones_do_not_suffer(
    any_cloud: EmbeddedCloud | NatsServer, webui: ServerProcess, tmp_path: Path, dead_letters: bool
) -> None:
    options = {"max_receives": ATTEMPTS if dead_letters else None}
    async with rigged(any_cloud, webui, tmp_path, **options) as rig:
        poison = f"poison-{secrets.token_hex(3)}"
        with rig.runtime.fault(Status(500), both(GENERATIONS, naming(poison))):
            await rig.publish("good", "good")
            for body in ("no JSON", '{"metadata": {}}', "[" * 10_000):
                rig.ledger.enter(await rig.scene.send(body), FAILED)
            await rig.publish_as(poison, ends=FAILED)
            await rig.publish("misrouted", ends=FAILED, tasktype="no-such-task")
            await rig.publish("good", "good")
            await rig.agent(QUEUE_AGENT_MAX_RECEIVES=str(ATTEMPTS))
            balance = await rig.settled()
        balance.check(dead=1 if dead_letters else 0)
        assert rig.scene.answers(poison)[0]["attempt"] == ATTEMPTS
        quarantined = [k for k in await rig.scene.bucket_keys() if k.startswith("quarantine/")]
        assert len(quarantined) == (3 if dead_letters else 4)


async def test_a_message_at_its_last_allowed_receive_is_still_worked_on(
    any_cloud: EmbeddedCloud | NatsServer, webui: ServerProcess, tmp_path: Path
) -> None:
    options = {"visibility_timeout": BRIEF, "max_receives": ATTEMPTS}
    async with rigged(any_cloud, webui, tmp_path, **options) as rig:
        job_id = await _kill_in_the_middle(rig, max_receives=ATTEMPTS)
        (await rig.settled()).check()
        answer = rig.scene.answers(job_id)[0]
        assert (answer["status"], answer["attempt"]) == ("completed", ATTEMPTS)


async def test_without_dead_letters_a_job_that_kills_its_agents_is_given_up(
    any_cloud: EmbeddedCloud | NatsServer, webui: ServerProcess, tmp_path: Path
) -> None:
    options = {"visibility_timeout": BRIEF, "max_receives": None}
    async with rigged(any_cloud, webui, tmp_path, **options) as rig:
        job_id = await _kill_in_the_middle(rig, max_receives=1)
        (await rig.settled()).check()
        assert rig.scene.answers(job_id)[0]["status"] == "failed"
        assert await rig.runs(job_id) == []


async def test_a_job_that_kills_its_agents_ends_among_the_dead_letters(
    any_cloud: EmbeddedCloud | NatsServer, webui: ServerProcess, tmp_path: Path
) -> None:
    """The queue itself moves it, or on NATS the next agent, which says nothing."""
    options = {"visibility_timeout": BRIEF, "max_receives": 1}
    async with rigged(any_cloud, webui, tmp_path, **options) as rig:
        await _kill_in_the_middle(rig, max_receives=1)

        async def is_dead() -> bool:
            return await rig.scene.dead_letters() == 1

        await until(is_dead, what="the message among the dead letters")
        await rig.scene.emptied()
        balance = await rig.ledger.reconcile(rig.scene, await rig.runs())
        assert (balance.lost, balance.dead) == ([], 1)
