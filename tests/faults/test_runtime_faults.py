"""A runtime that breaks, vanishes and lies: no job fails of it, and none is given up for it."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import JsonValue

from faults.ledger import Ledger
from faults.rig import Rig, rigged
from faults.striking import GENERATIONS, READINESS, Hold, both, naming
from harness import until, webui_process
from queue_agent.testing import sample_png
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.fault_proxy import Fault, LoseAnswer, Reset, Status, Truncate, on_path
from queue_agent.testing.process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUT_OF_MEMORY = Status.of_json(
    500, {"error": "OutOfMemoryError", "detail": "", "body": "", "errors": "CUDA out of memory."}
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Rig]:
    """One agent that goes through all of this module's faults."""
    async with rigged(embedded_cloud, webui, Path(tmp_path_factory.mktemp("runtime"))) as opened:
        await opened.agent()
        yield opened


@pytest.fixture
def steady(shared: Rig) -> Rig:
    shared.ledger = Ledger()
    return shared


@dataclass(frozen=True)
class Passing:
    """A fault of one generation request; what the GPU did for a lost answer is done again."""

    fault: Fault
    beyond_need: int = 0


PNG = sample_png(64, 64)


def pictures(*images: bytes) -> Status:
    """The Web UI's answer of success with these."""
    encoded: list[JsonValue] = [base64.b64encode(image).decode() for image in images]
    return Status.of_json(200, {"images": encoded, "parameters": {}, "info": "{}"})


FAULTS = {
    "an answer that is no JSON": Passing(Status(200, b"<html>please wait</html>")),
    "an answer without images": Passing(Status.of_json(200, {"images": None})),
    "half an answer": Passing(Truncate(), beyond_need=1),
    "a lost answer": Passing(LoseAnswer(), beyond_need=1),
    "a reset": Passing(Reset()),
    "a bad gateway": Passing(Status(502, b"Bad Gateway")),
    "out of memory": Passing(OUT_OF_MEMORY),
}


@pytest.mark.parametrize("passing", FAULTS.values(), ids=FAULTS.keys())
async def test_a_fault_of_the_runtime_that_passes_is_nobodys_concern(
    steady: Rig, passing: Passing
) -> None:
    with steady.runtime.fault(passing.fault, GENERATIONS, times=1):
        (job_id,) = await steady.publish("passing")
        answer = await steady.scene.answer(job_id)
    assert (answer["status"], answer["attempt"]) == ("completed", 1)
    (await steady.settled()).check(beyond_need=passing.beyond_need)


BROKEN = {
    "half a picture": pictures(PNG[: len(PNG) // 2]),
    "a picture with a hole": pictures(PNG[:60] + bytes(20) + PNG[80:]),
    "a good and a broken picture": pictures(PNG, PNG[:-12]),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_picture_is_a_failed_attempt(steady: Rig, answer: Status) -> None:
    with steady.runtime.fault(answer, GENERATIONS, times=1):
        (job_id,) = await steady.publish("broken")
        told = await steady.scene.answer(job_id)
    assert (told["status"], told["attempt"], len(told["images"])) == ("completed", 2, 1)
    (await steady.settled()).check()


async def test_twenty_jobs_wait_untouched_while_the_runtime_refuses_connections(
    steady: Rig,
) -> None:
    async def asked_again(before: int) -> bool:
        return steady.runtime.count(READINESS) >= before + 2

    with steady.runtime.fault(Reset()):
        asked = steady.runtime.count(READINESS)
        await until(lambda: asked_again(asked), what="the agent to notice")
        ids = await steady.publish(*["waiting"] * 20)
        asked = steady.runtime.count(READINESS)
        await until(lambda: asked_again(asked), what="the agent to ask again")
        await steady.scene.holds(20)
    (await steady.settled()).check()
    assert all(steady.scene.answers(job_id)[0]["attempt"] == 1 for job_id in ids)


async def test_a_runtime_that_restarts_in_the_middle_of_a_job_does_it_again(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    own = webui_process("--step-seconds", "0.02")
    await asyncio.to_thread(own.start)
    try:
        async with rigged(embedded_cloud, own, tmp_path) as rig:
            await rig.agent()
            (job_id,) = await rig.publish("restarted", steps=50)
            await rig.running(job_id)
            own.kill()
            await asyncio.to_thread(own.start)
            (await rig.settled()).check()
            assert await rig.scene.dead_letters() == 0
    finally:
        await asyncio.to_thread(own.stop)


async def test_a_job_whose_runtime_hangs_is_done_elsewhere(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, tmp_path: Path
) -> None:
    async with rigged(embedded_cloud, webui, tmp_path) as rig:
        hold = Hold()
        job_id = f"hanging-{secrets.token_hex(3)}"
        # The second pod's runtime is the same fake, which the first pod's interrupts do not reach.
        aside = rig.runtime.fault(Status.of_json(200, {}), on_path("/sdapi/v1/interrupt", "POST"))
        with aside, rig.runtime.fault(hold, both(GENERATIONS, naming(job_id)), times=1):
            # It may be given the job again, and is to have the time for it on a busy machine.
            await rig.agent(QUEUE_AGENT_RUN_TIMEOUT="10")
            await rig.publish_as(job_id)
            await hold.arrived.wait()
            await rig.agent(QUEUE_AGENT_RUNTIME_URL=webui.url)
            (await rig.settled()).check()
        assert rig.scene.answers(job_id)[0]["attempt"] > 1
