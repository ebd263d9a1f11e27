"""The agent: pulls messages while the runtime is ready, overlaps their deliveries, drains."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakSet

import structlog
from pydantic import JsonValue

from queue_agent.cloud import Message
from queue_agent.runtime import Runtime
from queue_agent.tasks import background, together
from queue_agent.telemetry.refusals import CloudRefusals
from queue_agent.telemetry.tracing import Telemetry
from queue_agent.wire.errors import Unavailable
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.health import RuntimeHealth, missing
from queue_agent.worker.interruption import LAST_WORDS
from queue_agent.worker.keep_warm import KeepWarm
from queue_agent.worker.lease import Lease
from queue_agent.worker.leftovers import Leftovers
from queue_agent.worker.model_watch import ModelWatch
from queue_agent.worker.pausing import Pausing
from queue_agent.worker.policy import Policy
from queue_agent.worker.processor import Processor
from queue_agent.worker.queues import Queues
from queue_agent.worker.slot import Stage
from queue_agent.worker.slots import Slots

log = structlog.get_logger()

_READINESS_POLL = 1.0
_NOT_SUBMITTED = (Stage.PREPARING, Stage.WAITING)
_NOT_RUNNING = (*_NOT_SUBMITTED, Stage.SUBMITTED, Stage.FETCHING)
_LAST_POLL = 0.3
"""Seconds that a long poll in flight gets at the end, for a message already on its way."""


@dataclass
class Agent:
    """Runs deliveries until told to stop. Durations are in seconds."""

    queues: Queues
    runtime: Runtime
    health: RuntimeHealth
    leftovers: Leftovers
    pausing: Pausing
    processor: Processor
    slots: Slots
    policy: Policy
    refusals: CloudRefusals = field(default_factory=CloudRefusals)
    telemetry: Telemetry = field(default_factory=Telemetry)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    busy: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    idle: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _left: float = field(default=float("inf"), init=False)
    """Messages that may still be taken."""
    _too_late: list[tuple[Message, float]] | None = field(default=None, init=False)
    """Told to stop: what came all the same, and when it was asked for."""
    _deliveries: dict[asyncio.Task[None], Delivery] = field(default_factory=dict, init=False)
    _quiet_since: float | None = field(default=None, init=False)
    """When the poll began since which nothing came and nothing is worked on."""
    _given_back: WeakSet[asyncio.Task[None]] = field(default_factory=WeakSet, init=False)

    async def readiness(self) -> Mapping[str, str | None]:
        """What the agent needs to work: None where it is there, else why not."""
        refused = {name: error.message for name, error in self.refusals.lasting().items()}
        return {
            "runtime": missing(await self.health.check()),
            "queue": (self._is_asking and self.queues.missing) or refused.get("queue"),
            "topic": refused.get("topic"),
            "bucket": refused.get("bucket"),
        }

    @property
    def _is_asking(self) -> bool:
        """Whether messages are to be received at all."""
        return self.pausing.resumed.is_set()

    def notes(self) -> Mapping[str, JsonValue]:
        """What is told of a healthy agent, too: what operators have paused."""
        return {"paused": [str(pause) for pause in self.pausing.on]} if self.pausing.on else {}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; return when every message is acknowledged or given back."""
        async with (
            asyncio.TaskGroup() as tasks,
            background(self.leftovers.watch()),
            background(self._reopen()),
            background(self._leave_to_others()),
            background(ModelWatch(self.runtime, self.slots).watch()),
            background(self.pausing.watch()),
            background(self._put_off_what_is_paused()),
            background(self._keep_warm()),
        ):
            self.queues.spawn, self.queues.take = tasks.create_task, partial(self._take, tasks)
            pulling = tasks.create_task(self._pull(stop))
            await stop.wait()
            log.info("draining", deliveries=len(self._deliveries))
            self._too_late = []
            pulling.cancel()
            await asyncio.wait({pulling})
            await self.queues.end(_LAST_POLL)
            await self._give_back_late(tasks, self._too_late)
            await self._drain()
        log.info("stopped")

    async def _pull(self, stop: asyncio.Event) -> None:
        if self.policy.max_jobs is not None:
            self._left = self.policy.max_jobs
        while self._left > 0:
            room = await self.slots.room()
            await self.health.until_ready()
            await self.pausing.known.wait()
            if not self._is_asking:
                if await self._ends_while_paused():
                    break
                continue
            self.slots.resize(concurrency=self.runtime.concurrency, backlog=self.runtime.backlog)
            asked = self.clock()
            try:
                if self.slots.looks_ahead:
                    room = await self._ahead(room)
            except Unavailable as error:
                log.debug("backlog not known", reason=error.message)
                await asyncio.sleep(_READINESS_POLL)
                continue
            if room:
                most = max(room, self.slots.most)
                await self.queues.receive(
                    int(min(room, self._left)),
                    most=int(min(most, self._left)),
                    # what is only to choose from goes first to those who wait for it
                    wait=0.0 if self.slots.looks_ahead else self.policy.receive_wait,
                )
            if self._has_waited_enough(asked):
                log.info("no more messages", idle_limit=self.policy.idle_limit)
                break
        while self._deliveries:
            await self.idle.wait()
        stop.set()

    def _take(self, tasks: asyncio.TaskGroup, messages: Sequence[Message], asked: float) -> None:
        latest = max(message.sent_at or 0.0 for message in messages)
        seconds, youngest = self.clock() - asked, self.now() - latest
        self.slots.forecast.observe_receive(seconds, youngest=youngest)
        late = [(message, asked) for message in messages]
        if self._too_late is not None:
            self._too_late += late
        elif not self._is_asking:  # a poll that is given up may lose what is on its way
            tasks.create_task(self._give_back_late(tasks, late))
        else:
            self._left -= len(messages)
            for message in messages:
                self._start(tasks, message, asked)

    def _has_waited_enough(self, asked: float) -> bool:
        """Whether nothing came for as long as is waited; `asked`: when the last poll began."""
        if self._deliveries:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = asked
        limit = self.policy.idle_limit
        if limit is None or self._quiet_since is None:
            return False
        return self.clock() - self._quiet_since >= limit

    async def _ends_while_paused(self) -> bool:
        """Wait until the runtime is resumed; True: nothing was to be done for long enough."""
        began = self.clock()
        while not self._is_asking:
            try:
                async with asyncio.timeout(self.policy.idle_limit):
                    await self.pausing.resumed.wait()
            except TimeoutError:
                if self._has_waited_enough(began):
                    log.info("paused, and nothing to do", idle_limit=self.policy.idle_limit)
                    return True
        return False

    async def _put_off_what_is_paused(self) -> None:
        """While something is paused, give back what it concerns and does not run.

        What is at its last delivery is worked on: nobody might get it again.
        """
        while True:
            await asyncio.sleep(0)  # a task cancelled before its first step could not give back
            self.pausing.changed.clear()
            self.slots.changed.clear()
            for processing in [*self._not_running()] if self.pausing.on else ():
                delivery = self._deliveries[processing]
                pause = self.pausing.of(delivery)
                if pause is not None and not self.policy.is_last(delivery.message):
                    delivery.lease.returns_in(self.pausing.seconds(pause))
                    self._give_back(processing)
            await (self.slots if self.pausing.on else self.pausing).changed.wait()

    async def _keep_warm(self) -> None:
        if self.health.warm_up is not None and (every := self.policy.keep_warm):
            await KeepWarm(
                self.health.warm_up,
                self.health,
                every,
                self.busy,
                self.idle,
                self.pausing.resumed.is_set,
            ).keep()

    async def _reopen(self) -> None:
        """Whenever the runtime was away, let jobs go to it as soon as it is ready."""
        while True:
            await self.slots.closed.wait()
            await self.health.until_ready()
            self.slots.resize(concurrency=self.runtime.concurrency, backlog=self.runtime.backlog)
            self.slots.open()
            await asyncio.sleep(_READINESS_POLL)  # one that is ready and refuses is not rushed

    async def _leave_to_others(self) -> None:
        """Whenever the runtime is stuck or sick, give back what was not submitted to it.

        Who restarts it may be long in coming. What is at its last delivery waits for that.
        """
        while True:
            await self.health.broken.wait()
            await asyncio.sleep(0)  # a task cancelled before its first step could not give back
            self.slots.changed.clear()
            for processing, delivery in self._deliveries.items():
                is_last = self.policy.is_last(delivery.message)
                if delivery.slot.stage in _NOT_SUBMITTED and not is_last:
                    self._give_back(processing)
            await self.slots.changed.wait()

    async def _ahead(self, room: int) -> int:
        """How many of so many messages to take only to choose from; too many are given back."""
        more, surplus = self.slots.look_ahead(await self.queues.waiting(), room)
        for processing, delivery in self._deliveries.items():
            if delivery.slot in surplus:
                log.info("another agent may do it sooner", job_id=delivery.job.id)
                self._give_back(processing)
        return more

    async def _give_back_late(
        self, tasks: asyncio.TaskGroup, late: Iterable[tuple[Message, float]]
    ) -> None:
        """Give back what came too late, but for what nobody would get again."""
        others: list[Coroutine[Any, Any, object]] = []
        for message, asked in late:
            if self.policy.is_last(message):
                self._start(tasks, message, asked)
            elif (pause := self.pausing.whole) is not None:
                others.append(self._lease(message).put_off(self.pausing.seconds(pause)))
            else:
                others.append(self._lease(message).release())
        await together(others)

    def _start(self, tasks: asyncio.TaskGroup, message: Message, asked: float) -> None:
        delivery = Delivery(
            message,
            self._lease(message),
            self.slots.add(hold_limit=self.policy.hold_limit_of(message)),
            self.telemetry,
            clock=self.clock,
            now=self.now,
            asked=asked,
        )
        processing = tasks.create_task(self._see_through(delivery))
        self._deliveries[processing] = delivery
        self.idle.clear()
        self.busy.set()
        processing.add_done_callback(self._ended)

    async def _see_through(self, delivery: Delivery) -> None:
        """Process a delivery; cancelled, give it back, once it is answered if it must be."""
        processing = asyncio.create_task(self.processor.process(delivery))
        try:
            await asyncio.shield(processing)
        except asyncio.CancelledError:
            try:
                if self._is_owed_an_answer(delivery):
                    storing = delivery.slot.stage is Stage.FINISHING
                    delivery.interruption.ask(storing=storing)
                    await asyncio.wait({processing}, timeout=LAST_WORDS)
            finally:
                processing.cancel()
                await asyncio.wait({processing})
            raise

    def _is_owed_an_answer(self, delivery: Delivery) -> bool:
        """Whether nobody would answer the job: its message is the only one, and not seen again."""
        is_alone = delivery.slot.stage is not Stage.ELSEWHERE
        return is_alone and self.policy.ends_in_dead_letters(delivery.message)

    def _ended(self, processing: asyncio.Task[None]) -> None:
        self.slots.remove(self._deliveries.pop(processing).slot)
        if not self._deliveries:
            self.busy.clear()
            self.idle.set()

    async def _drain(self) -> None:
        """Give back what does not run yet or any more, and what runs longer than the grace.

        What is at its last delivery has no other time to run than the grace.
        """
        await asyncio.sleep(0)  # a task cancelled before its first step could not give back
        try:
            async with asyncio.timeout(self.policy.grace):
                while self._deliveries:
                    self.slots.changed.clear()
                    for processing in self._not_running():
                        self._give_back(processing)
                    await self.slots.changed.wait()
        except TimeoutError:
            for processing in self._deliveries:
                self._give_back(processing)

    def _give_back(self, processing: asyncio.Task[None]) -> None:
        """End the work on a delivery, which gives the message back; once, lest that be cut off."""
        if processing not in self._given_back:
            self._given_back.add(processing)
            delivery = self._deliveries[processing]
            delivery.given_back = not self.policy.is_last(delivery.message)
            processing.cancel()

    def _not_running(self) -> Iterable[asyncio.Task[None]]:
        """The deliveries that the runtime does not work on, and others may."""
        for processing, delivery in self._deliveries.items():
            stage = delivery.slot.stage
            is_last = self.policy.is_last(delivery.message)
            if stage is Stage.ELSEWHERE or (stage in _NOT_RUNNING and not is_last):
                yield processing

    def _lease(self, message: Message) -> Lease:
        return Lease(
            self.queues.of(message),
            message,
            duration=self.policy.lease,
            max_receives=self.policy.most_receives(message),
            metrics=self.telemetry.metrics,
        )
