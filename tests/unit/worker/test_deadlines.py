"""Earlier deadlines first among what an agent holds, and late jobs told of early."""

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from queue_agent.wire.errors import Unavailable
from queue_agent.wire.notification import Notification
from worker_bench import EPOCH, RUN, Bench, drawing

pytestmark = pytest.mark.looptime

FAR: Final = 100_000.0


def moment(seconds: float) -> str:
    """So many seconds after the test's beginning."""
    return datetime.fromtimestamp(EPOCH + seconds, UTC).isoformat()


def late_ones(bench: Bench) -> list[Notification]:
    news = [Notification.read(published.body) for published in bench.topic.published]
    return [one for one in news if one.late]


async def known(bench: Bench) -> None:
    """Let the agent learn how long runs take, which is `RUN` seconds."""
    for number in range(3):
        await bench.publish(f"learn-{number}")
        await bench.answer(f"learn-{number}")


async def ran(bench: Bench, **deadlines: float | None) -> list[str]:
    """Publish them while another job runs, all of which are held; the order of their runs."""
    bench.runtime.usually = drawing(0.001)
    async with bench.working():
        await known(bench)
        bench.runtime.script("busy", drawing(100))
        await bench.publish("busy")
        await bench.pass_time(1)
        for name, deadline in deadlines.items():
            more: dict[str, Any] = {} if deadline is None else {"deadline": moment(deadline)}
            await bench.publish(name, **more)
        for name in deadlines:
            await bench.answer(name)
    return [job for job in bench.runtime.runs if job in deadlines]


def held(**policy: Any) -> Bench:
    """An agent that may hold several, as it does where runs are short."""
    return Bench(visibility=600, policy={"prefetch": 10, "hold_limit": 10_000, **policy})


async def test_the_earliest_deadline_runs_first() -> None:
    order = await ran(held(), c=FAR + 3, a=FAR + 1, b=FAR + 2)
    assert order == ["a", "b", "c"]


async def test_equal_deadlines_and_jobs_without_keep_their_order() -> None:
    order = await ran(held(), p=None, a=FAR, b=FAR, q=None, c=FAR)
    assert order == ["a", "b", "c", "p", "q"]


async def test_a_job_without_a_deadline_is_overtaken_four_times_at_most() -> None:
    others = {f"d{number}": FAR + number for number in range(8)}
    order = await ran(held(), patient=None, **others)
    assert order.index("patient") == 4


async def test_it_can_be_switched_off() -> None:
    order = await ran(held(by_deadline=False), c=FAR + 3, a=FAR + 1, b=FAR + 2)
    assert order == ["c", "a", "b"]


async def test_a_job_that_will_be_late_says_so_while_it_runs() -> None:
    bench = Bench(policy={"progress_interval": 1.0})
    bench.runtime.script("late", drawing(progress=(0.5,)))
    async with bench.working():
        await known(bench)
        await bench.publish("late", deadline=moment(3 * RUN + 2))
        await bench.publish("in-time", deadline=moment(FAR))
        answer = await bench.answer("late")
        await bench.answer("in-time")
    assert answer.status == "completed"
    assert answer.late is None
    assert {one.id for one in late_ones(bench)} == {"late"}


async def test_nothing_is_told_where_running_notifications_are_off() -> None:
    bench = Bench()
    async with bench.working():
        await bench.publish("late", deadline=moment(-5))
        assert (await bench.answer("late")).status == "completed"
    assert late_ones(bench) == []


@pytest.mark.parametrize("by_job", [True, False])
async def test_who_wants_to_know_is_told_before_the_run(*, by_job: bool) -> None:
    bench = Bench(policy={} if by_job else {"on_late": "notify"})
    wish: dict[str, Any] = {"on_late": "notify"} if by_job else {}
    async with bench.working():
        await known(bench)
        await bench.publish("late", deadline=moment(3 * RUN + 2), context={"order": 7}, **wish)
        await bench.answer("late")
    (told,) = late_ones(bench)
    assert (told.id, told.status, told.context) == ("late", "running", {"order": 7})
    assert len(bench.told("late")) == 1


@pytest.mark.parametrize("by_job", [True, False])
async def test_a_job_that_is_not_wanted_late_fails_without_a_run(*, by_job: bool) -> None:
    bench = Bench(policy={} if by_job else {"on_late": "fail"})
    wish: dict[str, Any] = {"on_late": "fail"} if by_job else {}
    async with bench.working():
        await known(bench)
        await bench.publish("late", deadline=moment(3 * RUN + 2), **wish)
        answer = await bench.settled("late")
    assert answer.status == "failed"
    assert answer.error is not None
    assert (answer.error.type, answer.error.final) == ("deadline_missed", True)
    assert "late" not in bench.runtime.runs


async def test_the_jobs_own_word_wins() -> None:
    bench = Bench(policy={"on_late": "fail"})
    async with bench.working():
        await bench.publish("late", deadline=moment(-5), on_late="run")
        assert (await bench.answer("late")).status == "completed"


async def test_a_job_that_is_in_time_by_what_is_known_is_not_late() -> None:
    bench = Bench(policy={"on_late": "fail"})
    async with bench.working():
        await bench.publish("unknown", deadline=moment(1))
        assert (await bench.answer("unknown")).status == "completed", "no run was seen yet"
        await bench.publish("known", deadline=moment(RUN + 1.5 * RUN))
        assert (await bench.answer("known")).status == "completed"


async def test_a_topic_that_does_not_take_the_word_holds_nothing_up() -> None:
    bench = Bench(policy={"on_late": "notify"})
    async with bench.working():
        bench.cloud.faults.fail("topic.publish", Unavailable("no"), matching='"running"')
        await bench.publish("late", deadline=moment(-5))
        assert (await bench.answer("late")).status == "completed"
    assert late_ones(bench) == []
