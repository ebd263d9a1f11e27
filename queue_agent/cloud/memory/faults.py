"""Failures that a test orders: before a call is done, after it, or never coming to an end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from queue_agent.wire.errors import Unanswered

Operation = Literal[
    "queue.policy",
    "queue.receive",
    "queue.extend",
    "queue.delete",
    "queue.bury",
    "queue.send",
    "queue.backlog",
    "topic.publish",
    "topic.publish_many",
    "topic.check",
    "topic.routing",
    "topic.subscribe",
    "bucket.read",
    "bucket.write",
    "bucket.exists",
    "bucket.delete",
    "bucket.keys",
    "bucket.presign",
]
"""A method of a port. `publish_many` also does one ``topic.publish`` for each publication."""


class Call(NamedTuple):
    """One call that was made."""

    operation: Operation
    subject: str
    """The key or prefix in a bucket, the body published, sent, extended, deleted or buried."""


class HeldCall:
    """A call that has begun and does nothing until it is released."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        """Set when the call has come."""
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let the call go on."""
        self._released.set()

    async def _pass(self) -> None:
        self.reached.set()
        await self._released.wait()


@dataclass
class _Plan:
    operation: Operation
    matching: str
    times: float
    error: Exception | None = None
    after: bool = False
    hold: HeldCall = field(default_factory=HeldCall)


class Faults:
    """What is to go wrong, by operation.

    An order holds for the next `times` calls whose subject (see `Call`) has `matching` in it;
    `math.inf` is all of them, until `clear`. Orders that fit the same call are used up one after
    the other.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        """Every call so far, in order."""
        self._plans: list[_Plan] = []
        self._outage: Exception | None = None

    def fail(
        self, operation: Operation, error: Exception, *, times: float = 1, matching: str = ""
    ) -> None:
        """Raise the error instead of doing what was asked."""
        self._order(_Plan(operation, matching, times, error))

    def lose_answer(
        self,
        operation: Operation,
        error: Exception | None = None,
        *,
        times: float = 1,
        matching: str = "",
    ) -> None:
        """Do what was asked, and raise the error all the same: `Unanswered`, if none is given."""
        error = error or Unanswered("The answer was lost.")
        self._order(_Plan(operation, matching, times, error, after=True))

    def hold(self, operation: Operation, *, matching: str = "") -> HeldCall:
        """Keep the next call waiting until it is released."""
        plan = _Plan(operation, matching, 1)
        self._order(plan)
        return plan.hold

    def outage(self, error: Exception) -> None:
        """Let every call fail with the error, before any other order, until `clear`."""
        self._outage = error

    def clear(self) -> None:
        """End an outage, and forget the orders that are not used up."""
        self._outage = None
        self._plans.clear()

    @asynccontextmanager
    async def around(self, operation: Operation, subject: str = "") -> AsyncIterator[None]:
        """Note the call of the block, and let happen what was ordered for it."""
        self.calls.append(Call(operation, subject))
        if self._outage is not None:
            raise self._outage
        plan = self._next(operation, subject)
        if plan is None:
            yield
            return
        if plan.error is None:
            await plan.hold._pass()  # noqa: SLF001  nobody else should
        elif not plan.after:
            raise plan.error
        yield
        if plan.error is not None:
            raise plan.error

    def _order(self, plan: _Plan) -> None:
        if plan.operation not in get_args(Operation):
            raise ValueError(f"no operation of a port: {plan.operation}")
        self._plans.append(plan)

    def _next(self, operation: Operation, subject: str) -> _Plan | None:
        for plan in self._plans:
            if plan.operation == operation and plan.matching in subject:
                plan.times -= 1
                if not plan.times:
                    self._plans.remove(plan)
                return plan
        return None
