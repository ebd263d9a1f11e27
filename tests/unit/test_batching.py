"""Calls that come close together are sent as one, and each caller gets its own answer."""

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import pytest

from queue_agent.cloud.aws.batching import Batcher
from queue_agent.wire.errors import LeaseLost, QueueAgentError, Unavailable


class Service:
    """Takes words, one or many at once; refuses "bad" ones, and every call that holds "down"."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.alone: list[str] = []

    async def one(self, word: str) -> None:
        self.alone.append(word)
        if word in {"bad", "down"}:
            raise LeaseLost(word)

    async def many(self, words: Sequence[str]) -> Sequence[QueueAgentError | None]:
        self.calls.append(list(words))
        if "down" in words:
            raise Unavailable("down")
        return [LeaseLost(word) if word == "bad" else None for word in words]


def batching(service: Service, **options: Any) -> Batcher[str]:
    return Batcher(service.one, service.many, 0.001, **options)


async def outcomes(batcher: Batcher[str], words: Sequence[str]) -> list[BaseException | None]:
    return await asyncio.gather(*(batcher.add(word) for word in words), return_exceptions=True)


async def test_entries_that_come_together_share_calls_of_at_most_ten() -> None:
    service = Service()
    assert await outcomes(batching(service), [str(n) for n in range(23)]) == [None] * 23
    assert [len(call) for call in service.calls] == [10, 10, 3]


async def test_each_caller_gets_its_own_failure() -> None:
    service = Service()
    first, second, third = await outcomes(batching(service), ["a", "bad", "c"])
    assert (first, third) == (None, None)
    assert isinstance(second, LeaseLost)
    assert service.calls == [["a", "bad", "c"]]


async def test_a_call_that_fails_fails_for_all_its_entries() -> None:
    service = Service()
    failures = await outcomes(batching(service), ["a", "down"])
    assert all(isinstance(failure, Unavailable) for failure in failures)


async def test_a_call_is_no_heavier_than_allowed() -> None:
    service = Service()
    batcher = batching(service, weigh=len, capacity=5)
    await outcomes(batcher, ["xxx", "xx", "x", "x" * 9, "x"])
    assert service.calls == [["xxx", "xx"]]
    assert service.alone == ["x", "x" * 9, "x"]


async def test_a_cancelled_caller_leaves_the_others_alone() -> None:
    service = Service()
    batcher = batching(service)
    first = asyncio.create_task(batcher.add("a"))
    second = asyncio.create_task(batcher.add("b"))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()


async def test_an_entry_that_stays_alone_is_sent_by_itself() -> None:
    service = Service()
    batcher = batching(service)
    assert await outcomes(batcher, ["a"]) == [None]
    (error,) = await outcomes(batcher, ["bad"])
    assert isinstance(error, LeaseLost)
    assert (service.calls, service.alone) == ([], ["a", "bad"])


async def test_while_batching_is_off_each_entry_is_sent_at_once() -> None:
    service, wanted = Service(), False
    batcher = batching(service, active=lambda: wanted)
    assert await outcomes(batcher, ["a", "b"]) == [None] * 2
    with pytest.raises(LeaseLost):
        await batcher.add("bad")
    wanted = True
    await outcomes(batcher, ["c", "d"])
    assert (service.alone, service.calls) == (["a", "b", "bad"], [["c", "d"]])


@pytest.mark.looptime
async def test_what_comes_seldom_waits_for_nobody() -> None:
    service = Service()
    batcher = batching(service, crowd=1.0, active=lambda: False)
    for word in ("a", "b", "c"):
        before = asyncio.get_running_loop().time()
        await batcher.add(word)
        assert asyncio.get_running_loop().time() == before
        await asyncio.sleep(1.0)
    assert (service.alone, service.calls) == (["a", "b", "c"], [])


@pytest.mark.looptime
async def test_what_follows_another_closely_waits_for_more() -> None:
    service = Service()
    batcher = batching(service, crowd=1.0, active=lambda: False)
    async with asyncio.TaskGroup() as tasks:
        for number in range(12):
            tasks.create_task(batcher.add(str(number)))
            await asyncio.sleep(0.25)
    assert service.alone == ["0"]
    assert service.calls == [["1", "2", "3", "4"], ["5", "6", "7", "8"], ["9", "10", "11"]]


async def test_nothing_is_said_of_a_call_that_fails_after_its_callers_are_gone() -> None:
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    batcher = batching(Service())
    caller = asyncio.create_task(batcher.add("bad"))
    await asyncio.sleep(0)
    assert batcher._open is not None
    sent = batcher._open.sent
    caller.cancel()
    await asyncio.wait({caller, sent})
    del batcher, sent, caller
    gc.collect()
    assert said == []
