"""The gateway tells which models are loaded, as agents say in the bucket."""

from datetime import UTC, datetime, timedelta
from typing import Any

from gateway_bench import Gateways, client_of
from queue_agent.runtime import OfferedModel
from queue_agent.wire.agent_state import FRESH, AgentState
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.layout import agent_key, offer_key
from queue_agent.wire.offer import Offer

NAME = "sdruntime"


async def tell(gateways: Gateways, agent: str, *models: str, age: float = 0.0) -> None:
    at = datetime.fromtimestamp(gateways.cloud.now(), UTC) - timedelta(seconds=age)
    state = AgentState(runtime=NAME, agent=agent, at=at, models=models)
    await write(gateways, agent_key(NAME, agent), state.model_dump_json().encode())


async def write(gateways: Gateways, key: str, data: bytes) -> None:
    await gateways.bucket.write(key, data, media_type="application/json")


async def loaded(gateways: Gateways) -> list[Any]:
    app = await gateways.start()
    async with client_of(app) as client:
        (runtime,) = (await client.get("/v1/runtimes")).json()["runtimes"]
    told: list[Any] = runtime["loaded"]
    return told


async def test_it_counts_the_agents_that_have_a_model_loaded(gateways: Gateways) -> None:
    await tell(gateways, "one", "dreamy", "plain")
    await tell(gateways, "two", "dreamy")
    assert await loaded(gateways) == [
        {"model": "dreamy", "agents": 2},
        {"model": "plain", "agents": 1},
    ]


async def test_models_are_called_as_in_the_runtimes_list(gateways: Gateways) -> None:
    listed = OfferedModel(name="sd15/dreamy.safetensors")
    offer = Offer(runtime=NAME, adapter="comfyui", models=(listed,))
    await write(gateways, offer_key(NAME), offer.to_json())
    await tell(gateways, "one", "dreamy", "unlisted")
    names = [one["model"] for one in await loaded(gateways)]
    assert names == ["sd15/dreamy.safetensors", "unlisted"]


async def test_agents_that_have_said_nothing_for_long_do_not_count(gateways: Gateways) -> None:
    await tell(gateways, "killed", "dreamy", age=FRESH + 10)
    assert await loaded(gateways) == []


async def test_what_makes_no_sense_is_passed_over(gateways: Gateways) -> None:
    await write(gateways, agent_key(NAME, "odd"), b"no JSON")
    await tell(gateways, "one", "dreamy")
    assert [one["model"] for one in await loaded(gateways)] == ["dreamy"]


async def test_a_bucket_that_does_not_answer_leaves_the_rest_told(gateways: Gateways) -> None:
    gateways.cloud.faults.fail("bucket.keys", Unavailable("no"), matching="agents")
    await tell(gateways, "one", "dreamy")
    assert await loaded(gateways) == []
