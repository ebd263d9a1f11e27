"""Who stands where on the way to the GPU, and how many more may come.

Jobs reach the GPU in the order in which they are ready. A place goes through

    preparing → waiting → submitted → running → finishing

`submitted` is already with the runtime, in its own queue; `running` is worked on. The
runtime takes its requests in order, so the earliest submitted ones are the running ones.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum, auto


class Stage(Enum):
    PREPARING = auto()
    WAITING = auto()
    SUBMITTED = auto()
    RUNNING = auto()
    FINISHING = auto()


class Place:
    """One job's place in the line."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.stage = Stage.PREPARING
        self.submitted = asyncio.Event()
        self.running = asyncio.Event()
        """Set when the runtime has nothing left to do before this job."""
        self._changed = changed
        self._entered: dict[Stage, float] = {}

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a free place at the runtime and hold it for the block."""
        self.enter(Stage.WAITING)
        self._changed()
        try:
            await self.submitted.wait()
            yield
        finally:
            self.enter(Stage.FINISHING)
            self._changed()

    def enter(self, stage: Stage) -> None:
        self.stage = stage
        self._entered[stage] = time.monotonic()

    def entered(self, stage: Stage) -> float:
        """When the stage was entered, by the monotonic clock; 0 if it never was."""
        return self._entered.get(stage, 0.0)

    @property
    def waited(self) -> float:
        """Seconds from being prepared until the runtime was free."""
        return self.entered(Stage.RUNNING) - self.entered(Stage.WAITING)

    @property
    def ran(self) -> float:
        """Seconds on the runtime."""
        return self.entered(Stage.FINISHING) - self.entered(Stage.RUNNING)


class Line:
    """The places of one agent.

    `concurrency` jobs run at a time; `backlog` more may wait inside the runtime; `prefetch`
    more may be received ahead while every running place is taken.
    """

    def __init__(self, *, concurrency: int, backlog: int = 0, prefetch: int = 0) -> None:
        self._concurrency = concurrency
        self._backlog = backlog
        self._prefetch = prefetch
        self._finishing_limit = 4 + 2 * concurrency
        self._places: list[Place] = []
        self._changed = asyncio.Event()

    def join(self) -> Place:
        """A place for a message just received."""
        place = Place(self._advance)
        self._places.append(place)
        return place

    def leave(self, place: Place) -> None:
        """Give up the place of a message that is done with."""
        self._places.remove(place)
        self._advance()

    @property
    def room(self) -> int:
        """How many more messages to ask for now."""
        finishing = len(self._at(Stage.FINISHING))
        if finishing >= self._finishing_limit:
            return 0
        busy = len(self._at(Stage.RUNNING)) >= self._concurrency
        wanted = self._concurrency + (self._prefetch if busy else 0)
        return max(0, wanted - (len(self._places) - finishing))

    async def has_room(self) -> int:
        """Wait until more messages can be worked on soon; how many."""
        while not (room := self.room):
            self._changed.clear()
            await self._changed.wait()
        return room

    def _at(self, *stages: Stage) -> list[Place]:
        """The places at these stages, by the order in which they became ready."""
        found = [place for place in self._places if place.stage in stages]
        return sorted(found, key=lambda place: place.entered(Stage.WAITING))

    def _advance(self) -> None:
        at_runtime = self._at(Stage.SUBMITTED, Stage.RUNNING)
        free = self._concurrency + self._backlog - len(at_runtime)
        for place in self._at(Stage.WAITING)[: max(0, free)]:
            place.enter(Stage.SUBMITTED)
            place.submitted.set()
            at_runtime.append(place)
        for place in at_runtime[: self._concurrency]:
            if place.stage is Stage.SUBMITTED:
                place.enter(Stage.RUNNING)
                place.running.set()
        self._changed.set()
