"""What runtimes offer beside their task types: told by agents, listed by gateways."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway_bench import BUCKET, Gateways, client_of
from queue_agent.cli.offers import lines_of, offers_in
from queue_agent.cloud import Bucket
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.runtime import (
    Capabilities,
    NamedWorkflow,
    OfferedLora,
    OfferedModel,
    OfferedSampler,
    OfferedSizes,
    Runtime,
    WorkflowInput,
)
from queue_agent.tasks import background
from queue_agent.testing import eventually
from queue_agent.wire.errors import Rejected, RunLost, Unavailable
from queue_agent.wire.layout import RUNTIMES, offer_key
from queue_agent.wire.offer import LARGEST, Offer
from queue_agent.worker.health import RuntimeHealth
from queue_agent.worker.offering import Offering
from worker_bench import ScriptedRuntime

FLUX = NamedWorkflow(
    name="flux",
    inputs=(WorkflowInput(name="prompt", kind="text", required=True),),
    answers=("text-to-image",),
)


class Offers(ScriptedRuntime):
    """Has a workflow, and the models that a test says."""

    def __init__(self, *models: str) -> None:
        super().__init__()
        self.models = models
        self.asked = 0
        self.failures: list[Exception] = []

    def workflows(self) -> Sequence[NamedWorkflow]:
        return (FLUX,)

    async def capabilities(self) -> Capabilities:
        self.asked += 1
        if self.failures:
            raise self.failures.pop()
        return Capabilities(
            models=tuple(OfferedModel(name=name) for name in self.models),
            sizes=OfferedSizes(multiple_of=8),
        )


@asynccontextmanager
async def telling(
    bucket: Bucket, runtime: Runtime, started: asyncio.Event | None = None
) -> AsyncIterator[asyncio.Event]:
    """An agent that tells what its runtime offers, once it has been ready."""
    started = started or asyncio.Event()
    started.set()
    async with background(Offering(bucket, "sdruntime", runtime, started).keep()):
        yield started


async def told(cloud: MemoryCloud) -> Offer:
    return Offer.model_validate_json(await cloud.bucket(BUCKET).read(offer_key("sdruntime")))


@pytest.fixture
async def gateways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateways]:
    made = Gateways(tmp_path)
    monkeypatch.setattr("queue_agent.gateway.app.connect", lambda *_, **__: made.cloud)
    async with made.stack:
        yield made


async def runtime_of(gateways: Gateways) -> dict[str, Any]:
    """What a gateway lists."""
    app = await gateways.start()
    async with client_of(app) as client:
        (runtime,) = (await client.get("/v1/runtimes")).json()["runtimes"]
    found: dict[str, Any] = runtime
    return found


async def test_what_an_agent_tells_the_gateway_lists(gateways: Gateways) -> None:
    async with telling(gateways.bucket, Offers("dreamy")):
        await eventually(lambda: gateways.bucket.exists(offer_key("sdruntime")))
    listed = await runtime_of(gateways)
    assert listed["workflows"] == [FLUX.model_dump(mode="json")]
    assert listed["adapter"] == "scripted"
    assert listed["task_types"] == ["image-to-image", "text-to-image"]
    capabilities = Capabilities.model_validate(listed["capabilities"])
    assert capabilities == await Offers("dreamy").capabilities()
    assert capabilities.loras is None, "what is not known is not told to be none"


async def test_a_runtime_of_which_nothing_is_known_is_told_of_all_the_same(
    gateways: Gateways,
) -> None:
    async with telling(gateways.bucket, ScriptedRuntime()):
        await eventually(lambda: gateways.bucket.exists(offer_key("sdruntime")))
    listed = await runtime_of(gateways)
    assert listed["workflows"] == []
    assert listed["adapter"] == "scripted"


async def test_a_runtime_whose_agents_have_not_been_there_yet_is_listed(gateways: Gateways) -> None:
    listed = await runtime_of(gateways)
    assert (listed["workflows"], listed["adapter"], listed["task_types"]) == ([], None, [])


async def test_what_cannot_be_read_is_no_offer(gateways: Gateways) -> None:
    await gateways.bucket.write(offer_key("sdruntime"), b"[]", media_type="application/json")
    assert (await runtime_of(gateways))["workflows"] == []


async def test_a_gateway_that_may_not_read_offers_takes_it_for_no_refusal(
    gateways: Gateways,
) -> None:
    refused = Unavailable("no", type="cloud_unauthorized")
    gateways.cloud.faults.fail("bucket.read", refused, times=math.inf, matching=RUNTIMES)
    with capture_logs() as logs:
        assert (await runtime_of(gateways))["workflows"] == []
    assert "cloud refuses" not in {entry["event"] for entry in logs}
    assert "offer unknown" in {entry["event"] for entry in logs}


@pytest.mark.looptime
async def test_an_offer_is_told_again_while_the_bucket_fails() -> None:
    cloud = MemoryCloud()
    cloud.faults.fail("bucket.write", Unavailable("not now"), times=2)
    async with telling(cloud.bucket(BUCKET), Offers("dreamy")):
        await asyncio.sleep(30)
    assert (await told(cloud)).models == (OfferedModel(name="dreamy"),)


@pytest.mark.looptime
async def test_a_bucket_that_refuses_an_offer_is_logged_and_ends_nothing() -> None:
    cloud = MemoryCloud()
    cloud.faults.fail("bucket.write", Rejected("forbidden"))
    with capture_logs() as logs:
        async with telling(cloud.bucket(BUCKET), Offers()):
            await asyncio.sleep(30)
    assert [entry["event"] for entry in logs] == ["offer is not told"]


@pytest.mark.looptime
@pytest.mark.parametrize("error", [Unavailable("busy"), KeyError("a fault of the adapter")])
async def test_a_runtime_that_does_not_answer_is_asked_again(error: Exception) -> None:
    cloud, runtime = MemoryCloud(), Offers("dreamy")
    runtime.failures = [error]
    async with telling(cloud.bucket(BUCKET), runtime):
        await asyncio.sleep(30)
    assert (await told(cloud)).models == (OfferedModel(name="dreamy"),)


@pytest.mark.looptime
async def test_an_offer_is_written_again_only_when_it_has_changed() -> None:
    cloud, runtime = MemoryCloud(), Offers("dreamy")
    async with telling(cloud.bucket(BUCKET), runtime):
        await asyncio.sleep(3600)
        assert runtime.asked > 10
        assert written(cloud) == 1
        runtime.models = ("dreamy", "other")
        await asyncio.sleep(3600)
    assert written(cloud) == 2
    assert (await told(cloud)).models == (OfferedModel(name="dreamy"), OfferedModel(name="other"))


def written(cloud: MemoryCloud) -> int:
    return sum(call.operation == "bucket.write" for call in cloud.calls)


@pytest.mark.looptime
async def test_a_runtime_that_has_started_anew_is_asked_at_once() -> None:
    cloud, runtime = MemoryCloud(), Offers("dreamy")
    async with telling(cloud.bucket(BUCKET), runtime) as started:
        await asyncio.sleep(1)
        runtime.models = ("other",)
        started.set()
        await asyncio.sleep(1)
        assert (await told(cloud)).models == (OfferedModel(name="other"),)


@pytest.mark.looptime
@pytest.mark.parametrize("seen_away", [True, False])
async def test_health_tells_when_a_runtime_is_ready_that_was_not_or_may_have_been_away(
    seen_away: bool,
) -> None:
    runtime = ScriptedRuntime()
    health = RuntimeHealth(runtime, asyncio.get_running_loop().time)
    runtime.up = False
    await health.check()
    assert not health.started.is_set(), "nothing can be asked of a runtime that is away"
    runtime.up = True
    await health.check()
    assert health.started.is_set()
    health.started.clear()
    await health.check()
    assert not health.started.is_set()
    if seen_away:
        runtime.up = False
        await health.check()
        runtime.up = True
    else:
        health.failed(RunLost("the connection broke"))
    await health.check()
    assert health.started.is_set()


async def test_the_command_lists_what_agents_have_told() -> None:
    bucket = MemoryCloud().bucket(BUCKET)
    samplers = tuple(OfferedSampler(name=f"sampler-{number}") for number in range(25))
    for offer in (
        Offer(
            runtime="a b",
            adapter="comfyui",
            version="0.33.0",
            task_types=("pipeline",),
            workflows=(FLUX,),
            samplers=samplers,
            vaes=("one.pt",),
            loras=(),
        ),
        Offer(runtime="zz"),
    ):
        await bucket.write(offer_key(offer.runtime), offer.to_json(), media_type="application/json")
    await bucket.write(offer_key("broken"), b"[]", media_type="application/json")
    lines = [line async for offer in offers_in(bucket) for line in lines_of(offer)]
    assert lines[:2] == ["a b (comfyui 0.33.0): pipeline", f"  {FLUX}"]
    assert lines[2].startswith("  samplers: sampler-0, ")
    assert lines[2].endswith("sampler-19 and 5 more")
    assert lines[3:] == ["  vaes: one.pt", "zz (unknown): "]


def test_an_offer_is_no_larger_than_readers_take() -> None:
    offer = Offer(
        runtime="sdruntime",
        models=tuple(OfferedModel(name=f"{number:05}-{'x' * 300}") for number in range(10_000)),
        loras=tuple(OfferedLora(name=f"{number}") for number in range(500)),
    )
    data = offer.to_json()
    assert len(data) <= LARGEST
    read = Offer.model_validate_json(data)
    assert read.shortened == ("models",)
    assert read.models == (offer.models or ())[: len(read.models or ())]
    assert len(read.models or ()) > 1000
    assert read.loras == offer.loras
    assert Offer.model_validate_json(Offer(runtime="small").to_json()).shortened == ()


def test_an_offer_of_an_agent_of_another_version_can_be_read() -> None:
    assert (
        Offer.model_validate_json('{"runtime": "a", "models": [], "holograms": [1]}').models == ()
    )
    old = '{"runtime": "a", "task_types": ["pipeline"], "workflows": []}'
    assert Offer.model_validate_json(old).task_types == ("pipeline",)


@pytest.mark.parametrize("name", ["sdruntime", "a b", "a/b", "../x"])
def test_offers_lie_in_their_folder_whatever_a_runtime_is_called(name: str) -> None:
    folder, _, rest = offer_key(name).partition("/")
    assert folder == RUNTIMES
    assert "/" not in rest
