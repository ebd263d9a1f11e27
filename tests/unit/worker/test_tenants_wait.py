"""How long a tenant's job waits where another tenant has many: the table of docs/scheduling.md."""

import asyncio

import pytest

from queue_agent.client import make_job
from queue_agent.runtime import Output, Prepared, ProgressCallback
from queue_agent.wire.publication import publication_of
from worker_bench import NAME, RUN, Bench, ScriptedRuntime, drawing

pytestmark = pytest.mark.looptime

AMID_A_RUN = RUN / 2
FIGURE = pytest.mark.sweep(reason="a figure of the table")


async def publish(bench: Bench, name: str, tenant: str, *, fair: bool = True) -> None:
    job = make_job({"prompt": name}, runtime=NAME, job_id=name, tenant=tenant)
    sent = publication_of(job, fair=fair)
    topic = bench.cloud.topic(bench.deployment.job_topic)
    await topic.publish(sent.body, sent.attributes, sent.ordering)


async def waited(
    many: int, *, fair: bool, after: float, at_once: int = 1, more_after: float | None = None
) -> float:
    """Seconds from the publication of the one job of `quiet` to its run, with one agent.

    That is `after` seconds after `noisy` published so many; `more_after`: when it published one
    more. `at_once`: runs at the same time.
    """
    bench = Bench(runtime=ScriptedRuntime(concurrency=at_once))
    loop = asyncio.get_running_loop()
    begun: asyncio.Future[float] = loop.create_future()

    async def begin(prepared: Prepared, report: ProgressCallback) -> Output:
        begun.set_result(loop.time())
        return await drawing()(prepared, report)

    bench.runtime.script("quiet", begin)
    for number in range(many):
        await publish(bench, f"noisy-{number}", "noisy", fair=fair)
    async with bench.working():
        if more_after is not None:
            await bench.pass_time(more_after)
            await publish(bench, "noisy-later", "noisy", fair=fair)
        await bench.pass_time(after - (more_after or 0.0))
        published = loop.time()
        await publish(bench, "quiet", "quiet", fair=fair)
        return await begun - published


@pytest.mark.parametrize("at_once", [1, 8])
async def test_one_job_goes_before_the_thousand_of_another_tenant(at_once: int) -> None:
    wait = await waited(1000, fair=True, after=60 + AMID_A_RUN, at_once=at_once)
    assert wait == pytest.approx(RUN - AMID_A_RUN, abs=1)


async def test_it_does_for_as_long_as_the_other_goes_on_publishing() -> None:
    wait = await waited(1000, fair=True, after=400 + AMID_A_RUN, more_after=200)
    assert wait == pytest.approx(RUN - AMID_A_RUN, abs=1)


@pytest.mark.parametrize(
    ("many", "at_once"),
    [(48, 1), pytest.param(1000, 1, marks=FIGURE), pytest.param(1000, 8, marks=FIGURE)],
)
async def test_without_fairness_it_waits_for_all_of_them(many: int, at_once: int) -> None:
    wait = await waited(many, fair=False, after=60 + AMID_A_RUN, at_once=at_once)
    assert wait == pytest.approx(many / at_once * RUN - 60 - AMID_A_RUN, abs=1)


@pytest.mark.parametrize("many", [48, pytest.param(1000, marks=FIGURE)])
async def test_it_waits_where_the_other_has_published_nothing_for_five_minutes(many: int) -> None:
    wait = await waited(many, fair=True, after=300 + AMID_A_RUN)
    assert wait == pytest.approx(many * RUN - 300 - AMID_A_RUN, abs=1)
