"""Several queues by the priority of jobs, against one for all."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from queue_agent.planning.arrivals import ExpectedJob, some_of_priorities
from queue_agent.planning.nodes import Circumstances
from queue_agent.planning.ordering import JobOrder
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.policy import FleetPolicy
from queue_agent.planning.simulation import Simulation
from queue_agent.wire.errors import SettingsError
from queue_agent.worker.queue_order import QueueRule, by_rule

_ENTRY: Final = re.compile(r"([a-z0-9][a-z0-9-]{0,31})(?::([0-9]{1,3}))?=([0-9]*\.?[0-9]+)")


@dataclass(frozen=True, slots=True)
class QueueParts:
    """Queues by their names, the most urgent first."""

    parts: Mapping[str, float]
    """Of all jobs; together they need not be 1."""
    shares: Mapping[str, int]
    """Of those that have one: their weight, or what is reserved for them in percent."""


def parts_of(text: str) -> QueueParts:
    """What ``NAME=PART`` and ``NAME:NUMBER=PART``, by commas, say.

    Raises:
        SettingsError: they say something else.
    """
    found = QueueParts({}, {})
    for entry in text.split(","):
        match = _ENTRY.fullmatch(entry.strip())
        if match is None:
            raise SettingsError(f"--queues: {entry!r} is not NAME=PART or NAME:NUMBER=PART.")
        name, share, part = match.groups()
        if name in found.parts:
            raise SettingsError(f"--queues: {name} stands twice.")
        if share is not None and not 1 <= int(share) <= 100:
            raise SettingsError(f"--queues: {name}: a number is 1 to 100.")
        found = QueueParts(
            {**found.parts, name: float(part)},
            found.shares if share is None else {**found.shares, name: int(share)},
        )
    if len(found.parts) < 2 or not sum(found.parts.values()):
        raise SettingsError("--queues: two queues at least, and some of the jobs for them.")
    return found


def by_queues(
    jobs: Sequence[ExpectedJob],
    policy: FleetPolicy,
    circumstances: Circumstances,
    queues: QueueParts,
    rule: QueueRule,
    seed: int,
) -> Iterator[FleetOutcome]:
    """One queue for all jobs, and a queue for each priority. Jobs that name theirs keep it.

    Raises:
        SettingsError: one names another, or more is reserved than there is.
    """
    jobs = some_of_priorities(jobs, queues.parts, seed)
    if others := {job.priority for job in jobs} - {*queues.parts}:
        raise SettingsError(f"No queue is for the priority {min(others)!r}: --queues names them.")
    try:
        order = by_rule(rule, [*queues.parts], queues.shares)
    except ValueError as error:
        raise SettingsError(f"--queues: {error}.") from error
    for name, kept in (("one queue", JobOrder()), (rule, JobOrder(queues=order))):
        done = Simulation(jobs, replace(policy, name=name), circumstances, order=kept).run()
        found = done.by_priority
        done.by_priority = {name: found[name] for name in queues.parts if name in found}
        yield done
