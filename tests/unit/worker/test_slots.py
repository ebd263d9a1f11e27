"""The slots to the GPU: order, how many at the runtime, and when to ask for more."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from queue_agent.wire.errors import Unavailable
from queue_agent.worker.forecast import Forecast
from queue_agent.worker.slot import Slot, Stage
from queue_agent.worker.slots import Slots

pytestmark = pytest.mark.looptime


async def stand(slot: Slot, done: asyncio.Event) -> None:
    async with slot.turn():
        await done.wait()


def new_slots(**options: Any) -> Slots:
    """Slots that go by the loop's time."""
    return Slots(**options, clock=asyncio.get_running_loop().time)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def knowing(*, run: float, lead: float) -> Forecast:
    """A forecast that has seen runs and leads of so many seconds."""
    forecast = Forecast()
    for _ in range(20):
        forecast.observe_run(None, run)
        forecast.receive.observe(lead / 2)
        forecast.prepare.observe(lead / 2)
    return forecast


async def test_jobs_run_in_the_order_in_which_they_are_ready() -> None:
    slots = new_slots(concurrency=1)
    first, second = slots.add(), slots.add()
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
    slots = new_slots(concurrency=1, backlog=1)
    taken = [slots.add() for _ in range(3)]
    done = [asyncio.Event() for _ in taken]
    async with asyncio.TaskGroup() as tasks:
        for slot, end in zip(taken, done, strict=True):
            tasks.create_task(stand(slot, end))
        await settle()
        assert [p.stage for p in taken] == [Stage.RUNNING, Stage.SUBMITTED, Stage.WAITING]
        assert taken[1].submitted.is_set()
        assert not taken[1].running.is_set()
        done[0].set()
        await settle()
        assert [p.stage for p in taken] == [Stage.FINISHING, Stage.RUNNING, Stage.SUBMITTED]
        done[1].set()
        done[2].set()


async def test_a_job_cancelled_while_it_waits_holds_nobody_up() -> None:
    slots = new_slots(concurrency=1)
    taken = [slots.add() for _ in range(3)]
    ends = [asyncio.Event() for _ in range(3)]
    tasks = [asyncio.create_task(stand(slot, end)) for slot, end in zip(taken, ends, strict=True)]
    await settle()
    tasks[1].cancel()
    ends[0].set()
    await settle()
    assert taken[2].stage is Stage.RUNNING
    ends[2].set()
    await asyncio.wait(tasks)


@pytest.mark.parametrize("turns", range(6))
async def test_a_job_can_be_cancelled_at_any_turn_of_the_loop(turns: int) -> None:
    slots = new_slots(concurrency=1)
    end = asyncio.Event()
    task = asyncio.create_task(stand(slots.add(), end))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await settle()
    end.set()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_a_job_that_finds_no_place_for_long_is_given_up() -> None:
    slots = new_slots(concurrency=1)
    first, second = slots.add(), slots.add(hold_limit=0.01)
    end = asyncio.Event()
    running = asyncio.create_task(stand(first, end))
    await settle()
    with pytest.raises(Unavailable, match="no place free"):
        async with second.turn():
            raise AssertionError("there was no slot")
    end.set()
    await running


async def test_nothing_is_submitted_or_asked_for_beside_a_suspected_job() -> None:
    slots = new_slots(concurrency=4, backlog=1, prefetch=20)
    suspect, other = slots.add(), slots.add()
    suspect.suspected = True
    ends = asyncio.Event(), asyncio.Event()
    alone = asyncio.create_task(stand(suspect, ends[0]))
    await settle()
    beside = asyncio.create_task(stand(other, ends[1]))
    room = asyncio.create_task(slots.room())
    await settle()
    assert (suspect.stage, other.stage, room.done()) == (Stage.RUNNING, Stage.WAITING, False)
    ends[0].set()
    await settle()
    assert (other.stage, room.done()) == (Stage.RUNNING, True)
    ends[1].set()
    await asyncio.gather(alone, beside)


async def test_an_idle_agent_asks_for_as_many_as_run_at_a_time_and_one_more() -> None:
    assert await new_slots(concurrency=4, prefetch=20).room() == 5
    assert await new_slots(concurrency=1, prefetch=0).room() == 1


async def test_long_jobs_are_asked_for_one_by_one() -> None:
    slots = new_slots(concurrency=1, prefetch=20, forecast=knowing(run=10.0, lead=0.2))
    assert await slots.room() == 1


async def test_short_jobs_are_asked_for_as_many_as_fit_the_time_to_get_more() -> None:
    slots = new_slots(concurrency=1, prefetch=20, forecast=knowing(run=0.05, lead=0.3))
    asked = await slots.room()
    # 0.3 s and a margin at 0.05 s a job, with what little deviation is left
    assert 6 < asked < 11


@pytest.mark.parametrize("run", [0.005, 0.008, 0.012, 0.02, 0.05])
async def test_runs_shorter_than_a_receive_follow_each_other_without_a_gap(run: float) -> None:
    slots = new_slots(concurrency=1, backlog=1, prefetch=20)
    time, gpu, spans = asyncio.get_running_loop().time, asyncio.Lock(), []

    async def work(slot: Slot) -> None:
        await asyncio.sleep(0.03)
        async with slot.turn(), gpu:
            began = time()
            await asyncio.sleep(run)
            spans.append((began, time()))
        slots.remove(slot)

    async with asyncio.TaskGroup() as tasks:
        while len(spans) < 300:
            count = await slots.room()
            await asyncio.sleep(0.03)
            slots.forecast.observe_receive(0.03)
            for _ in range(min(count, 10)):
                tasks.create_task(work(slots.add()))
    known = spans[100:300]
    assert all(begin - end < 1e-6 for (_, end), (begin, _) in pairwise(known))


async def test_nothing_is_asked_for_while_a_long_run_has_just_begun() -> None:
    slots = new_slots(concurrency=1, prefetch=20, forecast=knowing(run=60.0, lead=0.2))
    end = asyncio.Event()
    running = asyncio.create_task(stand(slots.add(), end))
    await settle()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(50):
            await slots.room()
    end.set()
    await running
    assert await slots.room() == 1


async def test_where_several_run_at_a_time_those_needed_soon_are_asked_for_together() -> None:
    forecast = knowing(run=10.0, lead=0.2)
    remaining = {("now",): 0.2, ("soon",): 0.26, ("later",): 5.0}
    for kind, seconds in remaining.items():
        forecast.observe_run(kind, seconds)
    slots = new_slots(concurrency=3, prefetch=20, forecast=forecast)
    end = asyncio.Event()
    async with asyncio.TaskGroup() as running:
        for kind in remaining:
            slot = slots.add()
            slot.kind = kind
            running.create_task(stand(slot, end))
        await settle()
        assert await slots.room() == 2
        end.set()


async def test_progress_corrects_the_forecast() -> None:
    slots = new_slots(concurrency=1, prefetch=20, forecast=knowing(run=60.0, lead=0.2))
    slot, end = slots.add(), asyncio.Event()
    running = asyncio.create_task(stand(slot, end))
    await settle()
    room = asyncio.create_task(slots.room())
    await settle()
    assert not room.done()
    slot.report(0.99)
    assert await room == 1
    assert slot.remaining(60.0) < 1.0
    end.set()
    await running


async def test_messages_that_only_wait_to_be_deleted_hold_nobody_up() -> None:
    slots = new_slots(concurrency=1, prefetch=0, forecast=knowing(run=60.0, lead=0.2))
    first = slots.add()
    room = asyncio.create_task(slots.room())
    await settle()
    assert not room.done()
    first.answered()
    assert await room == 1


async def test_outputs_of_a_message_that_is_done_with_hold_up_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("queue_agent.worker.slots.OUTPUTS_LIMIT", 10)
    slots = new_slots(concurrency=1)
    given_up = slots.add()
    given_up.holds(10)
    room = asyncio.create_task(slots.room())
    await settle()
    assert not room.done()
    slots.remove(given_up)
    await settle()
    assert room.done()


async def test_a_slot_that_was_given_up_stands_nowhere() -> None:
    slots = new_slots(concurrency=1)
    given_up = slots.add()
    slots.remove(given_up)
    given_up.needs_no_runtime()
    assert not any(slots.counts().values())


async def test_a_queue_that_deletes_nothing_is_asked_for_no_more() -> None:
    slots = new_slots(concurrency=1, prefetch=0)
    taken = [slots.add() for _ in range(64)]
    for slot in taken:
        slot.answered()
    room = asyncio.create_task(slots.room())
    await settle()
    assert not room.done()
    slots.remove(taken[0])
    assert await room == 1


async def test_no_more_than_the_limit_is_ever_held() -> None:
    slots = new_slots(concurrency=1, prefetch=2, forecast=knowing(run=0.001, lead=1.0))
    assert await slots.room() == 3
    taken = [slots.add() for _ in range(3)]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await slots.room()
    slots.remove(taken[0])
    assert await slots.room() == 1


def test_a_kind_that_was_seen_is_forecast_by_its_own_runs() -> None:
    forecast = Forecast()
    for _ in range(10):
        forecast.observe_run(("text-to-image", 20), 2.0)
        forecast.observe_run(("text-to-image", 50), 5.0)
    assert forecast.run(("text-to-image", 20)) == pytest.approx(2.0)
    assert forecast.run(("text-to-image", 50)) == pytest.approx(5.0)
    assert 2.0 < forecast.run(("image-to-image", 20)) < 5.0


def test_a_receive_that_waited_for_its_message_teaches_nothing_about_the_queue() -> None:
    forecast = Forecast()
    for seconds in (0.7, 0.01, 0.8, 0.012, 5.0, 0.011):
        forecast.observe_receive(seconds)
    assert forecast.receive.mean == pytest.approx(0.011, abs=0.002)


def test_a_receive_whose_message_was_sent_while_it_waited_teaches_nothing_however_quick() -> None:
    forecast = Forecast()
    usual = forecast.lead
    for seconds, youngest in ((12.0, 0.02), (4.0, 0.02), (0.02, 0.01)):
        forecast.observe_receive(seconds, youngest=youngest)
    assert forecast.lead == usual
    forecast.observe_receive(0.02, youngest=30.0)
    assert forecast.receive.mean == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("deadline", "expected"),
    [(None, 40.0), (5.0, 40.0), (0.5, 20.0)],
)
async def test_what_goes_before_a_job_counts_towards_its_end(
    deadline: float | None, expected: float
) -> None:
    """One runs; of two that wait, those with earlier deadlines go before."""
    slots = new_slots(concurrency=1, forecast=knowing(run=10, lead=0.1))
    end = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for moment in (None, 1.0, 2.0):
            slot = slots.add()
            slot.deadline = moment
            tasks.create_task(stand(slot, end))
            await settle()
        mine = slots.add()
        mine.deadline = deadline
        assert slots.until_done(mine) == pytest.approx(expected)
        end.set()


async def test_nothing_is_expected_while_no_run_was_seen() -> None:
    slots = new_slots(concurrency=1)
    assert slots.until_done(slots.add()) == 0


async def test_those_that_are_submitted_at_once_are_worked_on_in_their_turn() -> None:
    """They were ready the other way round, which counts no more."""
    slots = new_slots(concurrency=1, backlog=2)
    slots.close()
    ends = [asyncio.Event() for _ in range(3)]
    async with asyncio.TaskGroup() as tasks:
        waiting = []
        for deadline, end in zip((3.0, 2.0, 1.0), ends, strict=True):
            slot = slots.add()
            slot.deadline = deadline
            waiting.append(slot)
            tasks.create_task(stand(slot, end))
            await asyncio.sleep(1)
        slots.open()
        assert [slot.stage is Stage.RUNNING for slot in waiting] == [False, False, True]
        ends[2].set()
        await settle()
        assert [slot.stage is Stage.RUNNING for slot in waiting] == [False, True, False]
        for end in ends:
            end.set()
