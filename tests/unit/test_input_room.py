"""Room for the inputs of all jobs: bounded, in order, and given back whatever happens."""

import asyncio

import pytest

from queue_agent.inputs.room import Place, Room

pytestmark = pytest.mark.looptime


async def asked(room: Room, size: int) -> asyncio.Task[Place]:
    task = asyncio.create_task(room.place(size))
    await asyncio.sleep(0.01)
    return task


async def test_there_is_room_for_as_much_as_there_is_and_no_more() -> None:
    room = Room(10)
    places = [await room.place(5) for _ in range(2)]
    third = await asked(room, 1)
    assert not third.done()
    with places[0]:
        pass
    assert (await asked(room, 4)).done()
    assert third.done()


async def test_who_needs_less_than_was_thought_lets_others_in() -> None:
    room = Room(10)
    first = await room.place(10)
    second = await asked(room, 8)
    first.shrink(2)
    await asyncio.sleep(0.01)
    assert second.done()
    assert not (await asked(room, 1)).done()


async def test_whoever_asked_first_is_first_however_much_it_is() -> None:
    room = Room(10)
    first = await room.place(6)
    large, small = await asked(room, 10), await asked(room, 1)
    assert not small.done(), "small ones would keep a large one out for ever"
    first.shrink(0)
    await asyncio.sleep(0.01)
    assert large.done()
    assert not small.done()


async def test_one_that_is_larger_than_the_room_has_it_alone() -> None:
    room = Room(10)
    with await room.place(50):
        assert not (await asked(room, 1)).done()
    await asyncio.sleep(0.01)
    first = await room.place(1)
    assert not (await asked(room, 50)).done()
    first.shrink(0)


async def test_who_waits_no_longer_is_no_hindrance() -> None:
    room = Room(10)
    first = await room.place(6)
    large, small = await asked(room, 10), await asked(room, 1)
    large.cancel()
    await asyncio.sleep(0.01)
    assert small.done()
    first.shrink(0)
    assert (await asked(room, 9)).done()


async def test_who_is_let_in_as_it_goes_gives_its_place_back() -> None:
    room = Room(10)
    first = await room.place(10)
    second = await asked(room, 10)
    first.shrink(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert (await asked(room, 10)).done()
