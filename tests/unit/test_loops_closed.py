"""No test leaves an event loop to the garbage collector, which warns of it in any other test."""

import asyncio

import pytest


async def test_a_loop_is_there_while_a_test_runs_in_one() -> None:
    assert asyncio.get_event_loop() is asyncio.get_running_loop()


@pytest.mark.parametrize("turn", range(2), ids=["before", "after"])
def test_no_loop_is_made_for_who_only_asks_for_one(turn: int) -> None:
    with pytest.raises(RuntimeError, match="no current event loop"):
        asyncio.get_event_loop()
    asyncio.run(asyncio.sleep(0))
