"""kill -9 at exact points: the work done so far is used, and everybody gets an answer."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from faults.rig import BRIEF, Rig, rigged
from faults.striking import ARTIFACTS, BURY, DELETE, GENERATIONS, MANIFESTS, PUBLISH, Hold
from queue_agent.testing.fault_proxy import Matcher
from queue_agent.testing.nats import NatsServer
from queue_agent.testing.process import ServerProcess


@dataclass(frozen=True)
class Moment:
    """The agent is killed while it waits for the answer to this request."""

    request: Matcher
    beyond_need: int
    renotified: int = 0


BEFORE_THE_MANIFEST = {
    "while an image is uploaded": Moment(ARTIFACTS, beyond_need=1),
    "between upload and manifest": Moment(MANIFESTS, beyond_need=1),
}
AFTER_THE_MANIFEST = {
    "between manifest and notification": Moment(PUBLISH, beyond_need=0),
    "between notification and delete": Moment(DELETE, beyond_need=0, renotified=1),
}
MOMENTS = {**BEFORE_THE_MANIFEST, **AFTER_THE_MANIFEST}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
async def test_a_job_whose_agent_is_killed_is_finished_by_the_next(
    any_brief_rig: Rig, moment: Moment
) -> None:
    agent = await any_brief_rig.agent()
    hold = Hold()
    with any_brief_rig.cloud.fault(hold, moment.request):
        (job_id,) = await any_brief_rig.publish("killed")
        await hold.arrived.wait()
        agent.kill()
        await agent.ended()
    balance = await any_brief_rig.settled()
    balance.check(beyond_need=moment.beyond_need, renotified=moment.renotified)
    assert balance.generations[job_id] == 1 + moment.beyond_need
    assert any_brief_rig.scene.answers(job_id)[-1]["redelivered"] is (moment.beyond_need == 0)


async def test_on_nats_a_job_whose_every_delivery_ends_with_its_agent_is_answered(
    nats_server: NatsServer, webui: ServerProcess, tmp_path: Path
) -> None:
    """Also where the one that answers is killed before the message is a dead letter."""
    brief = {"visibility_timeout": BRIEF, "max_receives": 1}
    async with rigged(nats_server, webui, tmp_path, **brief) as rig:
        running, burying = Hold(), Hold()
        with rig.runtime.fault(running, GENERATIONS), rig.cloud.fault(burying, BURY):
            agent = await rig.agent()
            (job_id,) = await rig.publish("killed", ends={"failed"})
            for times, hold in enumerate((running, burying), 1):
                await hold.arrived.wait()
                agent.kill()
                await agent.ended(times=times)
        balance = await rig.settled()
        balance.check(renotified=1, dead=1)
        answers = rig.scene.answers(job_id)
    assert [answer["error"]["type"] for answer in answers] == ["attempts_exhausted"] * 2
    assert [answer["redelivered"] for answer in answers] == [False, True]
