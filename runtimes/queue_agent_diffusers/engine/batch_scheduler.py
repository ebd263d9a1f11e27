"""Who shares steps with whom, and whose turn it is: no torch, no threads.

Jobs whose samples may share forward passes form a batch. The batches take turns, each of at most
the model's `turn` steps while others wait, so that of n batches none waits longer than n - 1
turns. Within a batch samples come in the order of their jobs, and join as rows become free.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from queue_agent_diffusers.engine.jobs import EngineJob
from queue_agent_diffusers.engine.model import Model, Sample

RECOVERY: Final = 32
"""Steps without a failure after which a batch that was halved may grow again."""


@dataclass(eq=False)
class Member:
    """One sample and the job that it belongs to."""

    job: EngineJob
    sample: Sample
    number: int
    """Which image of the job, from 0."""
    siblings: Sequence[Sample]
    """All samples of the job, this one included."""
    started: bool = False


class Batch:
    """Jobs of one model whose samples may share steps, as many of them as there are rows for."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.waiting: deque[Member] = deque()
        """Not started, or set aside when the memory did not hold them."""
        self.running: list[Member] = []
        self.most_rows: int | None = None
        """What the memory turned out to hold, in rows; None while it held all."""
        self._steps_since = 0

    @property
    def empty(self) -> bool:
        return not self.waiting and not self.running

    def add(self, members: Sequence[Member]) -> None:
        """Let samples join as soon as there is room for them."""
        self.waiting.extend(members)

    def admit(self) -> Iterator[Member]:
        """Let those in for whom there is room; one that is alone always has it."""
        while self.waiting:
            member = self.waiting[0]
            limit = self.model.max_rows(member.job.request)
            if self.most_rows is not None:
                limit = min(limit, self.most_rows)
            if self.running and self.rows + member.sample.rows > limit:
                return
            self.running.append(self.waiting.popleft())
            yield member

    def set_aside(self, members: Sequence[Member]) -> None:
        """Let running members wait, before all others, until there are rows for them again."""
        self.waiting.extendleft(reversed(members))
        self.running = [member for member in self.running if member not in members]
        self.most_rows = max(1, self.rows)
        self._steps_since = 0

    def halve(self) -> None:
        """Set half of the running members aside; to be called with more than one."""
        self.set_aside(self.running[(len(self.running) + 1) // 2 :])

    def stepped(self) -> None:
        """Note a step that went well."""
        self._steps_since += 1
        if self.most_rows is not None and self._steps_since >= RECOVERY:
            self.most_rows, self._steps_since = 2 * self.most_rows, 0

    def remove(self, job: EngineJob) -> list[Member]:
        """Take all of a job's samples out."""
        out = [member for member in (*self.running, *self.waiting) if member.job is job]
        self.running = [member for member in self.running if member.job is not job]
        self.waiting = deque(member for member in self.waiting if member.job is not job)
        return out

    def drop(self, job: EngineJob) -> None:
        """Take all of a job's samples out, and stop them."""
        for member in self.remove(job):
            member.sample.stop()

    @property
    def rows(self) -> int:
        """Rows of the running samples."""
        return sum(member.sample.rows for member in self.running)

    @property
    def members(self) -> list[Member]:
        return [*self.running, *self.waiting]


class BatchScheduler:
    """All batches that have work, the one whose turn was longest ago first."""

    def __init__(self) -> None:
        self._batches: OrderedDict[Hashable, Batch] = OrderedDict()

    def __iter__(self) -> Iterator[Batch]:
        return iter(list(self._batches.values()))

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, key: Hashable, model: Model, members: Sequence[Member]) -> None:
        """Put samples into the batch of that key."""
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = Batch(model)
        batch.add(members)

    def next(self, may_run: Callable[[Batch], bool] = lambda _: True) -> Batch | None:
        """The batch whose turn it is; its next one comes after all others'."""
        for key, batch in list(self._batches.items()):
            if batch.empty:
                del self._batches[key]
            elif may_run(batch):
                self._batches.move_to_end(key)
                return batch
        return None

    def uses(self, model: Model) -> bool:
        """Whether a batch works or waits with this model."""
        return any(batch.model is model and not batch.empty for batch in self._batches.values())
