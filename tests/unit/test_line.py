"""The line to the GPU: order, how many at the runtime, how many more to ask for."""

import asyncio

from queue_agent.line import Line, Place, Stage


async def stand(place: Place, done: asyncio.Event) -> None:
    async with place.turn():
        await done.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_jobs_run_in_the_order_in_which_they_are_ready() -> None:
    line = Line(concurrency=1)
    first, second = line.join(), line.join()
    ends = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stand(second, ends[1]))
        await settle()
        tasks.create_task(stand(first, ends[0]))
        await settle()
        assert (second.stage, first.stage) == (Stage.RUNNING, Stage.WAITING)
        ends[1].set()
        await settle()
        assert (second.stage, first.stage) == (Stage.FINISHING, Stage.RUNNING)
        ends[0].set()


async def test_the_runtime_is_handed_the_backlog_but_only_works_on_what_it_can() -> None:
    line = Line(concurrency=1, backlog=1)
    places = [line.join() for _ in range(3)]
    done = [asyncio.Event() for _ in places]
    async with asyncio.TaskGroup() as tasks:
        for place, end in zip(places, done, strict=True):
            tasks.create_task(stand(place, end))
        await settle()
        assert [p.stage for p in places] == [Stage.RUNNING, Stage.SUBMITTED, Stage.WAITING]
        assert places[1].submitted.is_set()
        assert not places[1].running.is_set()
        done[0].set()
        await settle()
        assert [p.stage for p in places] == [Stage.FINISHING, Stage.RUNNING, Stage.SUBMITTED]
        done[1].set()
        done[2].set()


async def test_a_job_cancelled_while_it_waits_holds_nobody_up() -> None:
    line = Line(concurrency=1)
    first, second, third = line.join(), line.join(), line.join()
    ends = [asyncio.Event() for _ in range(3)]
    tasks = [
        asyncio.create_task(stand(place, end))
        for place, end in zip((first, second, third), ends, strict=True)
    ]
    await settle()
    tasks[1].cancel()
    ends[0].set()
    await settle()
    assert third.stage is Stage.RUNNING
    ends[2].set()
    await asyncio.wait(tasks)


def test_an_idle_agent_asks_for_as_many_as_run_at_a_time() -> None:
    assert Line(concurrency=4, prefetch=2).room == 4
