"""Agents say in the bucket what they have loaded, and see who else is there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from queue_agent.runtime import Loaded, ModelUse
from queue_agent.tasks import background
from queue_agent.wire.agent_state import FRESH, TOLD_EVERY, AgentState
from queue_agent.wire.errors import Unavailable
from queue_agent.worker.presence import Presence
from queue_agent.worker.scheduler import JobScheduler
from worker_bench import NAME, Bench

pytestmark = pytest.mark.looptime

FOLDER = f"runtimes/{NAME}/agents/"


@asynccontextmanager
async def present(
    bench: Bench, agent: str, *models: str, look_ahead: int = 4
) -> AsyncIterator[Presence]:
    uses = (ModelUse.named(models, ["ink"] if models else []),) if models else ()
    scheduler = JobScheduler(look_ahead=look_ahead, loaded=Loaded(uses))
    presence = Presence(bench.results, NAME, agent, scheduler, now=bench.cloud.now)
    async with background(presence.keep()):
        await bench.pass_time(1)
        yield presence


def told(bench: Bench, agent: str) -> AgentState:
    return AgentState.model_validate_json(bench.results.objects[f"{FOLDER}{agent}.json"].data)


async def test_an_agent_says_what_its_runtime_has_loaded_until_it_ends(bench: Bench) -> None:
    async with present(bench, "one", "dreamy.safetensors"):
        state = told(bench, "one")
        assert (state.runtime, state.models, state.loras) == (NAME, ("dreamy",), ("ink",))
        assert state.at.timestamp() == pytest.approx(bench.cloud.now(), abs=2)
    assert bench.keys(FOLDER) == []


async def test_what_is_loaded_anew_is_told_soon_and_what_is_not_anew_now_and_then(
    bench: Bench,
) -> None:
    async with present(bench, "one", "a") as presence:
        first = told(bench, "one").at
        await bench.pass_time(TOLD_EVERY / 2)
        assert told(bench, "one").at == first
        presence.scheduler.loaded = presence.scheduler.loaded.after(ModelUse.named(["b"]))
        await bench.pass_time(20)
        assert told(bench, "one").models == ("b",)
        await bench.pass_time(TOLD_EVERY + 20)
        assert told(bench, "one").at.timestamp() > bench.cloud.now() - TOLD_EVERY


async def test_agents_count_those_that_are_there(bench: Bench) -> None:
    async with present(bench, "one") as one:
        assert one.others() == 0
        async with present(bench, "two", "a"), present(bench, "three", "b"):
            await bench.pass_time(70)
            assert one.others() == 2
        await bench.pass_time(70)
        assert one.others() == 0


async def test_one_that_was_killed_counts_no_more_and_leaves_nothing_for_ever(
    bench: Bench,
) -> None:
    await bench.results.write(f"{FOLDER}killed.json", b"{}", media_type="application/json")
    async with present(bench, "one") as one:
        assert one.others() == 1
        await bench.pass_time(FRESH + 70)
        assert one.others() == 0
        assert len(bench.keys(FOLDER)) == 2
        await bench.pass_time(3600)
        assert bench.keys(FOLDER) == [f"{FOLDER}one.json"]


async def test_nothing_is_written_or_asked_where_nobody_knows_of_models(bench: Bench) -> None:
    async with present(bench, "one", look_ahead=1):
        await bench.pass_time(TOLD_EVERY * 2)
    assert bench.operations() == {}


async def test_a_bucket_that_takes_nothing_is_tried_again(bench: Bench) -> None:
    bench.cloud.faults.fail("bucket.write", Unavailable("no"), matching="agents")
    async with present(bench, "one", "a"):
        assert bench.keys(FOLDER) == []
        await bench.pass_time(20)
        assert told(bench, "one").models == ("a",)


async def test_agents_are_counted_where_none_may_be_removed(bench: Bench) -> None:
    await bench.results.write(f"{FOLDER}killed.json", b"{}", media_type="application/json")
    await bench.pass_time(2 * 3600)
    bench.cloud.faults.fail("bucket.delete", Unavailable("no"), matching="agents", times=100)
    async with present(bench, "one") as one, present(bench, "two"):
        await bench.pass_time(70)
        assert one.others() == 1
