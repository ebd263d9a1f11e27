"""Queue, topic and bucket that fail for a while: finished work is kept, nothing is done twice."""

import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from faults.ledger import Ledger
from faults.rig import BRIEF, Rig, rigged
from faults.striking import (
    ARTIFACTS,
    DELETE,
    HEARTBEAT,
    MANIFESTS,
    MARKERS,
    PUBLISH,
    RECEIVE,
    S3,
    DeliverTwice,
    either,
)
from harness import PATIENCE, until
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.fault_proxy import (
    Delay,
    Fault,
    LoseAnswer,
    Matcher,
    Reset,
    Status,
    on_path,
)
from queue_agent.testing.process import HOST, ServerProcess, free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFTEN = 5
"""So many requests outlast what the SDK tries by itself."""
OPERATIONS = (
    on_path("*.out", "GET"),  # was it done before?
    MARKERS,
    ARTIFACTS,
    MANIFESTS,
    PUBLISH,
    DELETE,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Rig]:
    """One agent that goes through all of this module's faults."""
    async with rigged(embedded_cloud, webui, Path(tmp_path_factory.mktemp("cloud"))) as opened:
        await opened.agent()
        yield opened


@pytest.fixture
def steady(shared: Rig) -> Rig:
    shared.ledger = Ledger()
    return shared


def _error(code: str) -> bytes:
    """In the words of S3 and SNS; SQS is understood by the status alone."""
    error = f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>"
    return f"<ErrorResponse>{error}</ErrorResponse>".encode()


FAULTS = {
    "unavailable": Status(503),
    "forbidden": Status(403, _error("AccessDenied"), {"content-type": "text/xml"}),
    "throttled": Status(400, _error("Throttling"), {"content-type": "text/xml"}),
    "reset": Reset(),
    "slow": Delay(0.5),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_a_job_survives_every_operation_failing_once(steady: Rig, fault: Fault) -> None:
    with ExitStack() as faults:
        for matches in OPERATIONS:
            faults.enter_context(steady.cloud.fault(fault, matches, times=1))
        await steady.publish("unlucky")
        (await steady.settled()).check()


async def test_an_answer_that_is_not_of_the_cloud_is_a_fault_that_passes(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, tmp_path: Path
) -> None:
    async with rigged(embedded_cloud, webui, tmp_path) as rig:
        agent = await rig.agent()
        with rig.cloud.fault(Status(403), PUBLISH, times=1):
            (job_id,) = await rig.publish("blocked")

            async def over() -> bool:
                return bool(rig.scene.answers(job_id) or agent.exits)

            await until(over, what="an answer or a crash")
        assert agent.crashes == []


REFUSALS: dict[str, tuple[Matcher, str, Status]] = {
    "no right to publish": (
        PUBLISH, "unauthorized",
        Status(403, _error("AuthorizationError"), {"content-type": "text/xml"}),
    ),
    "a store without conditions": (
        either(ARTIFACTS, MANIFESTS), "not_implemented",
        Status(501, b"<Error><Code>NotImplemented</Code></Error>"),
    ),
    "a wrong clock": (
        either(ARTIFACTS, MANIFESTS), "clock_skewed",
        Status(403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("matches", "reason", "refusal"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_refusal_is_in_the_log_and_the_metrics_at_once_and_costs_no_job(
    embedded_cloud: EmbeddedCloud,
    webui: ServerProcess,
    tmp_path: Path,
    matches: Matcher,
    reason: str,
    refusal: Status,
) -> None:
    port = free_port()
    async with (
        rigged(embedded_cloud, webui, tmp_path) as rig,
        httpx.AsyncClient(base_url=f"http://{HOST}:{port}", timeout=PATIENCE) as probe,
    ):
        agent = await rig.agent(
            QUEUE_AGENT_HEALTH_HOST=HOST,
            QUEUE_AGENT_HEALTH_PORT=str(port),
            QUEUE_AGENT_METRICS="prometheus",
        )

        async def said() -> bool:
            lines = [json.loads(line) for line in agent.log.read_text().splitlines()]
            refused = [line for line in lines if line["event"] == "cloud refuses"]
            return any(line["error"] == f"cloud_{reason}" and line["remedy"] for line in refused)

        with rig.cloud.fault(refusal, matches):
            await rig.publish("refused")
            await until(said, what="a word about the refusal")
            page = (await probe.get("/metrics")).text
        counted = [
            line
            for line in page.splitlines()
            if line.startswith("queue_agent_cloud_refusals_total") and f'reason="{reason}"' in line
        ]
        assert sum(float(line.rpartition(" ")[2]) for line in counted) >= 1
        (await rig.settled()).check()


async def test_a_write_that_arrived_but_was_not_answered_for_is_taken_for_our_own(
    steady: Rig,
) -> None:
    with (
        steady.cloud.fault(LoseAnswer(), ARTIFACTS, times=1),
        steady.cloud.fault(LoseAnswer(), MANIFESTS, times=1),
        steady.cloud.fault(LoseAnswer(), DELETE, times=1),
    ):
        (job_id,) = await steady.publish("unsure")
        (await steady.settled()).check()
    assert steady.scene.answers(job_id)[0]["redelivered"] is False


OUTAGES: dict[str, Matcher] = {
    "the bucket": S3,
    "the topic": PUBLISH,
    "the queue": either(RECEIVE, HEARTBEAT, DELETE),
}


@pytest.mark.parametrize("matches", OUTAGES.values(), ids=OUTAGES.keys())
async def test_jobs_outlast_an_outage_of_a_whole_service(steady: Rig, matches: Matcher) -> None:
    refused = steady.cloud.count(matches)

    async def refused_often() -> bool:
        return bool(steady.cloud.count(matches) >= refused + OFTEN)

    with steady.cloud.fault(Status(503), matches):
        await steady.publish("first", "second", "third")
        await until(refused_often, what="many refused requests")
    (await steady.settled()).check()


async def test_a_message_delivered_twice_at_once_is_generated_once(steady: Rig) -> None:
    with steady.cloud.fault(DeliverTwice(), RECEIVE):
        polls = steady.cloud.count(RECEIVE)

        async def polled_again() -> bool:
            return bool(steady.cloud.count(RECEIVE) > polls)

        await until(polled_again, what="the end of the poll in flight")
        (job_id,) = await steady.publish("double")
        second = await steady.scene.answer(job_id, nth=2)
    assert second["redelivered"] is True
    (await steady.settled()).check(renotified=1)


async def test_a_job_published_twice_is_generated_once(steady: Rig) -> None:
    (job_id,) = await steady.publish("again", steps=25)
    await steady.publish_as(job_id, steps=25)
    assert (await steady.scene.answer(job_id, nth=2))["redelivered"] is True
    (await steady.settled()).check(renotified=1)


async def test_a_message_that_cannot_be_deleted_is_only_notified_again(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, tmp_path: Path
) -> None:
    async with rigged(embedded_cloud, webui, tmp_path, visibility_timeout=BRIEF) as rig:
        await rig.agent(QUEUE_AGENT_STORE_PATIENCE="0.5")
        with rig.cloud.fault(FAULTS["forbidden"], DELETE):
            (job_id,) = await rig.publish("sticky")
            assert (await rig.scene.answer(job_id, nth=2))["redelivered"] is True
        balance = await rig.settled()
        balance.check(renotified=2)
        assert balance.generations[job_id] == 1
