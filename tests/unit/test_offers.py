"""What runtimes offer beside their task types: told by agents, listed by gateways."""

import math
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway_bench import BUCKET, Gateways, client_of
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.runtime import NamedWorkflow, Runtime, WorkflowInput
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.layout import RUNTIMES, offer_key
from queue_agent.wire.offer import Offer
from queue_agent.worker.offering import tell_offer
from worker_bench import ScriptedRuntime

FLUX = NamedWorkflow(
    name="flux",
    inputs=(WorkflowInput(name="prompt", kind="text", required=True),),
    answers=("text-to-image",),
)


class Offering(ScriptedRuntime):
    def workflows(self) -> Sequence[NamedWorkflow]:
        return (FLUX,)


@pytest.fixture
async def gateways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateways]:
    made = Gateways(tmp_path)
    monkeypatch.setattr("queue_agent.gateway.app.connect", lambda *_, **__: made.cloud)
    async with made.stack:
        yield made


async def listed(gateways: Gateways) -> object:
    app = await gateways.start()
    async with client_of(app) as client:
        (runtime,) = (await client.get("/v1/runtimes")).json()["runtimes"]
    return runtime["workflows"]


async def test_what_an_agent_tells_the_gateway_lists(gateways: Gateways) -> None:
    await tell_offer(gateways.bucket, "sdruntime", Offering())
    assert await listed(gateways) == [FLUX.model_dump(mode="json")]


async def test_a_runtime_that_tells_nothing_has_no_workflows(gateways: Gateways) -> None:
    await tell_offer(gateways.bucket, "sdruntime", ScriptedRuntime())
    assert not await gateways.bucket.exists(offer_key("sdruntime"))
    assert await listed(gateways) == []


async def test_what_cannot_be_read_is_no_offer(gateways: Gateways) -> None:
    await gateways.bucket.write(offer_key("sdruntime"), b"[]", media_type="application/json")
    assert await listed(gateways) == []


async def test_a_gateway_that_may_not_read_offers_takes_it_for_no_refusal(
    gateways: Gateways,
) -> None:
    refused = Unavailable("no", type="cloud_unauthorized")
    gateways.cloud.faults.fail("bucket.read", refused, times=math.inf, matching=RUNTIMES)
    with capture_logs() as logs:
        assert await listed(gateways) == []
    assert "cloud refuses" not in {entry["event"] for entry in logs}
    assert "offer unknown" in {entry["event"] for entry in logs}


@pytest.mark.looptime
async def test_an_offer_is_told_again_while_the_bucket_fails(runtime: Runtime) -> None:
    cloud = MemoryCloud()
    cloud.faults.fail("bucket.write", Unavailable("not now"))
    await tell_offer(cloud.bucket(BUCKET), "sdruntime", runtime)
    told = Offer.model_validate_json(await cloud.bucket(BUCKET).read(offer_key("sdruntime")))
    assert told == Offer(
        runtime="sdruntime", task_types=tuple(sorted(runtime.task_types)), workflows=(FLUX,)
    )


@pytest.mark.looptime
async def test_a_bucket_that_refuses_an_offer_is_logged_and_ends_nothing(runtime: Runtime) -> None:
    cloud = MemoryCloud()
    cloud.faults.fail("bucket.write", Rejected("forbidden"))
    with capture_logs() as logs:
        await tell_offer(cloud.bucket(BUCKET), "sdruntime", runtime)
    assert [entry["event"] for entry in logs] == ["workflows are not listed"]


@pytest.fixture
def runtime() -> Runtime:
    return Offering()


@pytest.mark.parametrize("name", ["sdruntime", "a b", "a/b", "../x"])
def test_offers_lie_in_their_folder_whatever_a_runtime_is_called(name: str) -> None:
    folder, _, rest = offer_key(name).partition("/")
    assert folder == RUNTIMES
    assert "/" not in rest
