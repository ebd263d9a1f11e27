"""What a chaos run does and when, from nothing but its seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """What is published."""

    GOOD = "good"
    TWICE = "published twice at once"
    CANCELLED = "cancelled soon after"
    EXPIRED = "expired before it came"
    LARGE = "with several large images"
    POISON = "answered with 500 each time"
    KILLER = "ends the runtime each time"
    MISROUTED = "of an unknown task type"
    MALFORMED = "no JSON"


class FaultKind(Enum):
    """What goes wrong."""

    KILL = "agent: kill -9"
    TERM = "agent: SIGTERM, restart"
    FREEZE = "agent: SIGSTOP, longer than the lease"
    RUNTIME_500 = "runtime: 500"
    RUNTIME_RESTART = "runtime: kill -9, restart"
    RUNTIME_HANG = "runtime: no answer"
    RUNTIME_STUCK = "runtime: stuck until restarted"
    RUNTIME_SICK = "runtime: broken CUDA context until restarted"
    CLOUD_503 = "cloud: 503"
    CLOUD_RESET = "cloud: reset"
    CLOUD_SLOW = "cloud: 1 s slower"
    CLOUD_LOST = "cloud: answer lost"
    CLOUD_REFUSES = "cloud: 403 for 10 to 40 s"
    SERVER_KILLED = "server: kill -9, restart"
    SERVER_AWAY = "server: kill -9, away for a while"
    SERVER_FROZEN = "server: SIGSTOP, longer than the lease"
    SERVER_SLOW = "server: 0.2 s slower each way"
    SERVER_CUT = "server: connections cut"
    SERVER_LOST = "server: answer lost"


CLOUDS: Final[Mapping[str, tuple[FaultKind, ...]]] = {
    "aws": tuple(fault for fault in FaultKind if not fault.name.startswith("SERVER_")),
    "nats": tuple(fault for fault in FaultKind if not fault.name.startswith("CLOUD_")),
}
"""What goes wrong on which."""


OPERATIONS: Final = ("receive", "heartbeat", "delete", "publish", "image", "manifest", "S3")
"""What a fault of the cloud concerns, one of them at a time."""

_SHARES: Final[Mapping[Kind, int]] = {
    Kind.GOOD: 79,
    Kind.TWICE: 7,
    Kind.LARGE: 2,
    Kind.CANCELLED: 4,
    Kind.EXPIRED: 2,
    Kind.POISON: 1,
    Kind.KILLER: 1,
    Kind.MISROUTED: 2,
    Kind.MALFORMED: 2,
}
_GAP: Final = 3.0
_STEPS: Final = (5, 60)
_LENGTH: Final = (1.0, 8.0)
_REFUSAL: Final = (10.0, 40.0)

INNOCENT: Final = frozenset({Kind.GOOD, Kind.TWICE, Kind.LARGE})
"""What must end with its images, whatever happens to others and to the pods."""


@dataclass(frozen=True)
class PlannedJob:
    """One message to publish; times are in seconds from the start."""

    at: float
    name: str
    kind: Kind
    steps: int
    patience: float
    """Seconds until a job that is cancelled is cancelled."""


@dataclass(frozen=True)
class Strike:
    """One fault, for so many seconds; of a moment's duration where it is a signal."""

    at: float
    fault: FaultKind
    length: float
    pod: int
    operation: str


@dataclass(frozen=True)
class Plan:
    """All of a run: the same for the same arguments."""

    publications: tuple[PlannedJob, ...]
    strikes: tuple[Strike, ...]

    @classmethod
    def of(cls, seed: int, *, jobs: int, seconds: float, pods: int, cloud: str = "aws") -> "Plan":
        chance = random.Random(seed)  # noqa: S311  no secret
        moments = sorted(chance.uniform(0, seconds) for _ in range(jobs))
        kinds = _kinds(chance, jobs)
        publications = tuple(
            PlannedJob(
                at,
                f"chaos-{number:04d}",
                kind,
                chance.randint(*_STEPS),
                chance.uniform(0, 2),
            )
            for number, (at, kind) in enumerate(zip(moments, kinds, strict=True))
        )
        return cls(publications, tuple(_strikes(chance, seconds, pods, CLOUDS[cloud])))


def _kinds(chance: random.Random, jobs: int) -> list[Kind]:
    """Each once, and the rest by their shares."""
    others = chance.choices(list(_SHARES), list(_SHARES.values()), k=max(0, jobs - len(Kind)))
    kinds = [*Kind, *others][:jobs]
    chance.shuffle(kinds)
    return kinds


def _strikes(
    chance: random.Random, seconds: float, pods: int, faults: Sequence[FaultKind]
) -> list[Strike]:
    strikes: list[Strike] = []
    moment = chance.expovariate(1 / _GAP)
    while moment < seconds:
        if len(strikes) % len(faults) == 0:  # each once, then each once more in another order
            order = chance.sample(faults, len(faults))
        fault = order[len(strikes) % len(faults)]
        strikes.append(
            Strike(
                moment,
                fault,
                chance.uniform(*(_REFUSAL if fault is FaultKind.CLOUD_REFUSES else _LENGTH)),
                chance.randrange(pods),
                chance.choice(OPERATIONS),
            )
        )
        moment += chance.expovariate(1 / _GAP)
    return strikes
