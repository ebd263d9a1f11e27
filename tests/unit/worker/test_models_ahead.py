"""Agents that know which model jobs need: few switches, bounded waits, nothing kept from others."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from queue_agent.runtime import (
    Assets,
    Loaded,
    ModelUse,
    Output,
    Prepared,
    ProgressCallback,
    RuntimeOptions,
)
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.job import Job
from worker_bench import RUN, Bench, ScriptedRuntime, drawing

pytestmark = pytest.mark.looptime

SWITCH = 20.0


class ModelRuntime(ScriptedRuntime):
    """Loads the model that a job names, which takes `SWITCH` seconds, and keeps `most` of them."""

    def __init__(self, options: RuntimeOptions | None = None, *, most: int = 1) -> None:
        super().__init__(options, backlog=1)
        self.most = most
        self.has: list[str] = []
        self.switches = 0
        self.tells = False
        self.asked_ahead: list[str] = []
        self.usually = self._load_and_draw

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        prepared = await super().prepare(job, assets)
        model = job.content.get("model")
        return replace(prepared, use=using(model)) if isinstance(model, str) else prepared

    async def loaded(self) -> Loaded | None:
        return Loaded(tuple(map(using, self.has)), self.most) if self.tells else None

    async def preload(self, use: ModelUse) -> None:
        (model,) = use.models
        self.asked_ahead.append(model)
        if model == "gone":
            raise Unavailable("no answer")
        self.has = [*self.has, model][: self.most]

    async def _load_and_draw(self, prepared: Prepared, report: ProgressCallback) -> Output:
        model = prepared.job.content.get("model")
        if isinstance(model, str):
            if model not in self.has:
                self.switches += 1
                await asyncio.sleep(SWITCH)
            self.has = [model, *[one for one in self.has if one != model]][: self.most]
        return await drawing()(prepared, report)


class PreloadingRuntime(ModelRuntime):
    """Can load the next model beside its runs."""

    preloads = True


def using(model: str) -> ModelUse:
    return ModelUse(frozenset({model}))


def bench(look_ahead: int, runtime: ModelRuntime | None = None, **policy: Any) -> Bench:
    return Bench(
        runtime=runtime or ModelRuntime(),
        visibility=600,
        policy={"look_ahead": look_ahead, "hold_limit": 300.0, **policy},
    )


async def publish(bench: Bench, models: str) -> list[str]:
    """A job for each letter, which names its model."""
    names = [f"{number:03}-{model}" for number, model in enumerate(models)]
    for name, model in zip(names, models, strict=True):
        await bench.publish(name, {"prompt": name, "model": model})
    return names


async def ran(bench: Bench, models: str) -> list[int]:
    """The numbers of the jobs in the order of their runs, all of which were waiting before."""
    names = await publish(bench, models)
    async with bench.working():
        for name in names:
            assert (await bench.answer(name)).status == "completed"
    return [int(name[:3]) for name in bench.runtime.runs]


ALTERNATING = "AB" * 12


async def test_jobs_of_the_loaded_model_go_first_so_that_switches_are_few() -> None:
    by_model, first_come = ModelRuntime(), ModelRuntime()
    await ran(bench(8, by_model), ALTERNATING)
    await ran(bench(1, first_come), ALTERNATING)
    assert first_come.switches == len(ALTERNATING)
    assert by_model.switches <= len(ALTERNATING) / 3


async def test_none_is_overtaken_more_often_than_is_looked_ahead() -> None:
    order = await ran(bench(6), "ABAAAABAAAAAAAABAAAAAAAAAA")
    for place, number in enumerate(order):
        assert sum(other > number for other in order[:place]) <= 6
    assert order != sorted(order)


async def test_without_a_look_ahead_who_came_first_is_first() -> None:
    order = await ran(bench(1), ALTERNATING)
    assert order == sorted(order)


async def test_jobs_that_need_the_same_keep_their_order_and_their_pace() -> None:
    times: list[float] = []
    for look_ahead in (1, 8):
        site = bench(look_ahead)
        order = await ran(site, "A" * 20)
        assert order == sorted(order)
        times.append(asyncio.get_running_loop().time() - sum(times))
    assert times[1] == pytest.approx(times[0], rel=0.01)


async def test_no_more_are_held_than_are_looked_ahead_at() -> None:
    site = bench(5)
    await publish(site, ALTERNATING)
    async with site.working():
        await site.pass_time(3 * RUN + SWITCH)
        backlog = await site.queue.backlog()
        assert backlog.in_flight <= 5 + 2, "beside one that runs and one in the runtime's queue"
        assert backlog.in_flight >= 5
    assert site.told(), "drained, what ran is told and the rest is given back"
    assert (await site.queue.backlog()).in_flight == 0


async def test_what_is_held_to_choose_from_is_not_given_back_while_others_of_it_run() -> None:
    site = bench(8, hold_limit=70.0)
    await ran(site, ALTERNATING)
    assert all(one.attempt == 1 for one in site.told())


async def test_idle_agents_get_what_another_holds_and_would_begin_with_later() -> None:
    runtimes = [ModelRuntime(), ModelRuntime()]
    site = bench(8, runtimes[0])
    names = await publish(site, "AAAAAAAAA")
    idle = 0
    async with site.working(site.agent(runtimes[0], others=lambda: idle)):
        await site.pass_time(SWITCH + RUN + 1)
        assert (await site.queue.backlog()).waiting <= 1
        idle = 1
        async with site.working(site.agent(runtimes[1], others=lambda: 1)):
            for name in names:
                await site.answer(name)
    assert runtimes[1].runs, "some were given back"
    assert len(runtimes[0].runs) + len(runtimes[1].runs) == len(names)
    assert max(one.attempt for one in site.told()) == 2


async def test_an_agent_takes_no_more_to_choose_from_than_its_part_of_what_waits() -> None:
    site = bench(8)
    await publish(site, "A" * 13)
    async with site.working(site.agent(others=lambda: 2)):
        await site.pass_time(SWITCH + RUN + 1)
        held = (await site.queue.backlog()).in_flight
        assert held <= 2 + 13 // 3, "beside one that runs and one in the runtime's queue"
        assert held > 2


async def test_an_agent_that_is_alone_keeps_what_it_holds() -> None:
    site = bench(8)
    await ran(site, "AAAAAAAA")
    assert all(one.attempt == 1 for one in site.told())


async def test_a_runtime_that_says_what_it_has_needs_no_first_job_to_find_out() -> None:
    runtime = ModelRuntime()
    runtime.tells, runtime.has = True, ["B"]
    site = bench(8, runtime)
    agent = site.agent()
    async with site.working(agent):
        await site.publish("other", {"prompt": "of no model"})
        await site.answer("other")
        assert agent.slots.scheduler.loaded.models == {"B"}


async def test_the_next_model_is_loaded_while_the_one_before_works() -> None:
    ahead, plain = PreloadingRuntime(most=2), ModelRuntime(most=2)
    for runtime in (ahead, plain):
        runtime.tells = True
        await ran(bench(8, runtime), "AAAAAABBBBBB")
    assert (ahead.switches, plain.switches) == (1, 2)
    assert ahead.asked_ahead == ["B"]


async def test_a_model_that_cannot_be_loaded_ahead_is_loaded_for_its_job() -> None:
    runtime = PreloadingRuntime()
    site = bench(8, runtime)
    await publish(site, "AAAA")
    await site.publish("b", {"prompt": "b", "model": "gone"})
    for name in ("late", "latest"):
        await site.publish(name, {"prompt": name, "model": "A"})
    async with site.working():
        assert (await site.answer("b")).status == "completed"
    assert runtime.asked_ahead == ["gone"]


async def test_a_first_run_that_had_to_load_its_model_is_not_taken_for_a_usual_one() -> None:
    site = bench(1)
    agent = site.agent()
    names = await publish(site, "AABA")
    async with site.working(agent):
        for name in names:
            await site.answer(name)
    assert agent.slots.scheduler.costs.known.model == pytest.approx(SWITCH, abs=0.5)


async def test_while_no_switch_can_be_told_from_a_run_both_together_are_what_was_seen() -> None:
    site = bench(1)
    agent = site.agent()
    names = await publish(site, "ABCDEF")
    async with site.working(agent):
        for name in names:
            await site.answer(name)
    scheduler = agent.slots.scheduler
    assert scheduler.costs.known.model is None
    whole = scheduler.forecast.run(None) + scheduler.costs.known.of("model")
    assert whole == pytest.approx(RUN + SWITCH, abs=0.5)


async def test_what_a_switch_costs_is_learnt() -> None:
    site = bench(4)
    agent = site.agent()
    names = await publish(site, ALTERNATING)
    async with site.working(agent):
        for name in names:
            await site.answer(name)
    assert agent.slots.scheduler.costs.known.model == pytest.approx(SWITCH, abs=0.5)
