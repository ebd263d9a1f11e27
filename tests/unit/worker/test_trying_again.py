"""Which failures are tried again, how often and for how long, in virtual time."""

import asyncio

import pytest

from queue_agent.wire.errors import QueueAgentError, Rejected, TimedOut, Unavailable
from queue_agent.worker.retry import retry_for, retry_in_place
from worker_bench import Bench, drawing, failing

pytestmark = pytest.mark.looptime


class _Action:
    """Fails as told, then succeeds."""

    def __init__(self, *errors: QueueAgentError) -> None:
        self._errors = list(errors)
        self.tries = 0

    async def __call__(self) -> str:
        self.tries += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


async def test_what_succeeds_is_done_once() -> None:
    action = _Action()
    assert await retry_in_place(action) == "done"
    assert await retry_for(10.0, action) == "done"
    assert action.tries == 2


@pytest.mark.parametrize("error", [Rejected("no"), TimedOut("late")])
async def test_what_another_try_cannot_help_is_not_tried_again(error: QueueAgentError) -> None:
    action = _Action(error)
    with pytest.raises(type(error)):
        await retry_in_place(action)
    assert action.tries == 1


async def test_the_first_try_is_one_of_those_allowed() -> None:
    action = _Action(*(Unavailable(f"try {number}") for number in range(1, 10)))
    with pytest.raises(Unavailable, match="try 3"):
        await retry_in_place(action, attempts=3)
    assert action.tries == 3


async def test_a_second_try_comes_after_a_pause_and_may_succeed() -> None:
    action = _Action(Unavailable("busy"))
    start = asyncio.get_running_loop().time()
    assert await retry_in_place(action) == "done"
    assert action.tries == 2
    assert asyncio.get_running_loop().time() > start


async def test_finished_work_is_tried_for_as_long_as_it_is_worth() -> None:
    action = _Action(*(Unavailable("away") for _ in range(1000)))
    start = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await retry_for(60.0, action)
    assert 60.0 <= asyncio.get_running_loop().time() - start < 66.0


async def test_nothing_is_tried_again_before_the_other_side_wants_it() -> None:
    action = _Action(Unavailable("busy", retry_after=20.0))
    start = asyncio.get_running_loop().time()
    assert await retry_in_place(action) == "done"
    assert 20.0 <= asyncio.get_running_loop().time() - start < 25.0


async def test_what_is_asked_for_too_late_is_not_tried_in_place() -> None:
    action = _Action(Unavailable("busy", retry_after=31.0))
    with pytest.raises(Unavailable):
        await retry_in_place(action)
    assert action.tries == 1


async def test_a_message_is_released_for_as_long_as_the_runtime_asks_for() -> None:
    bench = Bench()
    busy = Unavailable("too many requests", retry_after=120.0)
    bench.runtime.script("order-1", failing(busy), drawing())
    await bench.publish("order-1")
    start = asyncio.get_running_loop().time()
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt) == ("completed", 2)
    assert asyncio.get_running_loop().time() - start >= 120.0
