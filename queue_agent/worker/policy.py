"""What the operator and the queue prescribe."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from queue_agent.cloud import Message
from queue_agent.wire.job import Job, OnLate

_LONGEST_DELAY: Final = 900.0
_MOST_DOUBLINGS: Final = 20


@dataclass(frozen=True)
class Allowance:
    """How often a queue delivers a message."""

    max_receives: int
    has_dead_letter_queue: bool
    """Whether it is put aside then; else it comes again."""


@dataclass(frozen=True)
class Policy:
    """How messages are dealt with. Durations are in seconds."""

    runtime_name: str
    """What notifications call the runtime."""
    lease: float
    """Of a message; renewed each third of it."""
    max_receives: int
    has_dead_letter_queue: bool
    allowances: Mapping[str, Allowance] = field(default_factory=dict)
    """The same by queue, where an agent has several."""
    serves: str | None = None
    """Jobs that name another runtime are refused; None takes them all."""
    run_timeout: float = 900.0
    run_timeouts: Mapping[str, float] = field(default_factory=dict)
    """The same by task type, where it is another."""
    store_patience: float = 300.0
    """How long finished work is kept and retried while the cloud fails."""
    retry_delay: float = 2.0
    """Before a released message returns; doubled with each delivery."""
    hold_limit: float = 60.0
    """A message for which the runtime has no place, or is away, is given back after so long."""
    cancel_poll: float = 2.0
    """Cancel markers are noticed within so long; 0: each job looks only once."""
    pause_poll: float = 5.0
    """What operators pause is noticed within about so long; 0: it is not looked for."""
    receive_wait: float = 20.0
    """Length of a long poll."""
    prefetch: int = 20
    """At most so many messages are held ahead of the GPU."""
    grace: float = 50.0
    """Told to stop: so long to finish what runs."""
    max_jobs: int | None = None
    """End after so many messages; None: never."""
    idle_limit: float | None = None
    """End when no message came for so long; None: never."""
    progress_interval: float | None = None
    """None: no `running` notifications."""
    preview_interval: float | None = None
    """Between two previews of a job that asks for them; None: jobs get none."""
    checkpoint_limit: int = 0
    """Bytes of what a run has done that are kept for another attempt; 0: nothing is."""
    checkpoint_every: int = 0
    """That is kept so many steps after one another while a run goes on; 0: only at its end."""
    presign: float = 0.0
    """Links to the images work for so long; 0: none are made."""
    answer_burst: int = 20
    """So many messages that name no job are kept and answered at once …"""
    answers_per_second: float = 1.0
    """… and then so many a second, since each answer may be the cause of another."""
    on_late: OnLate = "run"
    """What becomes of a job that will miss its deadline, unless it says so itself."""
    tenant_in_flight: int | None = None
    """So many jobs of a tenant are worked on at a time; None: any."""
    tenant_strict: bool = False
    """Whether that holds also while no other's job waits; else the GPU never idles for it."""
    by_deadline: bool = True
    """Whether earlier deadlines go first among what waits here."""
    look_ahead: int = 1
    """So many messages are held to choose one whose model is loaded; 1: none for that."""
    keep_warm: float = 0.0
    """So long without a message, and the warm-up runs again; 0: it does not."""
    warm_up: Job | None = None
    """What runs after each start of the runtime, before any message is asked for."""
    gpu_price: float | None = None
    """What an hour of the runtime's GPU costs, in the operator's currency; None: not told."""
    spread: Callable[[float, float], float] = random.uniform
    """A random number between two; spreads delays, so that no messages come back together."""

    def run_timeout_of(self, job: Job) -> float:
        """How long a run of the job may take."""
        return self.run_timeouts.get(job.task_type, self.run_timeout)

    def has_dead_letters(self, message: Message) -> bool:
        """Whether its queue puts aside what was delivered too often."""
        return self._allowance(message).has_dead_letter_queue

    def most_receives(self, message: Message) -> int:
        """How often its queue delivers it, or it is tried where the queue does not say."""
        return self._allowance(message).max_receives

    def is_last(self, message: Message) -> bool:
        """Whether its queue allows no delivery after this one."""
        return message.receive_count >= self._allowance(message).max_receives

    def ends_in_dead_letters(self, message: Message) -> bool:
        """Whether the message is for the dead letters after this delivery."""
        return self.has_dead_letters(message) and self.is_last(message)

    def is_exhausted(self, message: Message) -> bool:
        """Whether this delivery is one more than allowed: no attempt came to an end."""
        return message.receive_count > self._allowance(message).max_receives

    def hold_limit_of(self, message: Message) -> float | None:
        """How long a message may wait for the runtime; None: as long as it takes.

        Waiting uses up half of the queue's allowance at most: the other half is for attempts.
        """
        most = self._allowance(message).max_receives
        return self.hold_limit if message.receive_count <= most // 2 else None

    def _allowance(self, message: Message) -> Allowance:
        usual = Allowance(self.max_receives, self.has_dead_letter_queue)
        return self.allowances.get(message.queue, usual)

    def delay(self, receive_count: int) -> float:
        """Seconds until the next attempt, doubled with each."""
        doubled = self.retry_delay * 2.0 ** min(receive_count - 1, _MOST_DOUBLINGS)
        return min(doubled, _LONGEST_DELAY) * self.spread(0.5, 1.0)
