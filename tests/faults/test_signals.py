"""SIGTERM: what runs is finished within the grace, everything else is given back at once."""

from faults.rig import Rig
from faults.striking import GENERATIONS, MANIFESTS, RECEIVE, Hold, HoldMessages
from harness import until
from queue_agent.testing.cloud_contract.hooks import received


async def test_a_signal_does_not_wait_for_the_end_of_a_long_poll(any_rig: Rig) -> None:
    agent = await any_rig.agent(QUEUE_AGENT_RECEIVE_WAIT="20")
    hold = Hold()
    with any_rig.cloud.fault(hold, RECEIVE):
        await hold.arrived.wait()
        agent.terminate()
        assert await agent.ended() == 0


async def test_a_message_that_comes_with_the_signal_is_given_back_at_once(rig: Rig) -> None:
    agent = await rig.agent()
    hold = HoldMessages()
    with rig.cloud.fault(hold, RECEIVE):
        await hold.asked.wait()  # an earlier poll would not be held
        (job_id,) = await rig.publish("late")
        await hold.given.wait()
        agent.terminate()
        await until(agent.drains, what="the end's beginning")
        hold.let_go()
        assert await agent.ended() == 0
    await rig.scene.holds(1)
    assert await rig.runs(job_id) == []
    await rig.agent()
    (await rig.settled()).check()


async def test_after_a_signal_prefetched_messages_are_released_while_the_running_job_is_finished(
    any_rig: Rig,
) -> None:
    agent = await any_rig.agent()
    hold = Hold()
    with any_rig.runtime.fault(hold, GENERATIONS):
        (first,) = await any_rig.publish("first")
        await hold.arrived.wait()
        others = await any_rig.publish("second", "third", "fourth", steps=25)

        async def prefetched() -> bool:
            return (await any_rig.scene.depth())[1] > 1

        await until(prefetched, what="a prefetched message")
        agent.terminate()
        await until(agent.drains, what="the end's beginning")
        queue = any_rig.scene.cloud.queue(any_rig.scene.deployment.queue_url)
        released = await received(queue, 3)  # long before their leases would have ended
        hold.let_go()
        assert await agent.ended() == 0
    assert (await any_rig.scene.answer(first))["attempt"] == 1
    await any_rig.scene.holds(0, 3)
    balance = await any_rig.ledger.reconcile(any_rig.scene, await any_rig.runs())
    assert balance.generations == {first: 1}
    for message in released:
        await queue.extend(message, 0)
    await any_rig.agent()
    (await any_rig.settled()).check()
    assert not any(any_rig.scene.answers(job_id)[0]["redelivered"] for job_id in others)


async def test_a_job_longer_than_the_grace_is_taken_over_by_another_agent(any_rig: Rig) -> None:
    agent = await any_rig.agent(QUEUE_AGENT_SHUTDOWN_GRACE="0.5")
    (job_id,) = await any_rig.publish("long", steps=150)
    await any_rig.running(job_id)
    await any_rig.agent()
    agent.terminate()
    assert await agent.ended() == 0
    (await any_rig.settled()).check()
    assert any_rig.scene.answers(job_id)[0]["attempt"] == 2
    first, second = await any_rig.runs(job_id)
    assert (first["interrupted"], second["interrupted"]) == (True, False)


async def test_a_signal_lets_a_result_on_its_way_to_the_bucket_arrive(any_rig: Rig) -> None:
    agent = await any_rig.agent()
    hold = Hold()
    with any_rig.cloud.fault(hold, MANIFESTS):
        await any_rig.publish("written")
        await hold.arrived.wait()
        agent.terminate()
        hold.let_go()
        assert await agent.ended() == 0
    (await any_rig.settled()).check()
