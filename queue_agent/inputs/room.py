"""Room for the inputs of all jobs together, handed out in the order in which it is asked for."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

__all__ = ["Place", "Room"]


class Room:
    """So many bytes, of which jobs hold places until they are done with."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def place(self, size: int) -> "Place":
        """Wait until there is room for so many bytes, however many that is where all is free."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(size)
            else:
                self._waiting.remove((size, turn))
                self._admit()
            raise
        return Place(self, size)

    def give_back(self, size: int) -> None:
        """So many bytes are free again."""
        self._taken -= size
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if self._taken and self._taken + size > self._size:
                return
            self._waiting.popleft()
            self._taken += size
            turn.set_result(None)


class Place:
    """Bytes of a room, given back at the end of the block."""

    def __init__(self, room: Room, size: int) -> None:
        self._room = room
        self._size = size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shrink(0)

    def shrink(self, size: int) -> None:
        """No more than so many bytes are needed."""
        spare, self._size = self._size - size, size
        self._room.give_back(spare)
