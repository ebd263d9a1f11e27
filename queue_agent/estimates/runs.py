"""What agents of a runtime have seen of its jobs: bounded, so that all of it fits into one file."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field

from queue_agent.wire.work import Work

LARGEST: Final = 2**20
"""Bytes of the file in the bucket; what is kept has less than a quarter of that."""
_KINDS: Final = 40
"""Pairs of a kind and a model."""
_OF_A_SIZE: Final = 6
"""Runs of exactly the same size, so that seldom sizes are not forgotten for common ones."""
_OF_A_KIND: Final = 30
_LATEST: Final = 50
"""Runs, of whatever kind, by which it is told what jobs take as they have been coming."""
_AGENTS: Final = 200
PRESENT: Final = 300.0
"""Seconds after which an agent that was not heard of is taken to be gone."""
_NAME: Final = 128


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class SeenRun(_Part):
    """One run that ended well."""

    at: float = Field(ge=0, description="When it ended, in seconds since the epoch.")
    amount: float | None = Field(default=None, ge=0)
    megapixels: float = Field(default=0.0, ge=0)
    count: float = Field(default=1.0, ge=0)
    seconds: float = Field(gt=0)
    gpu_seconds: float = Field(gt=0)
    price: float | None = Field(default=None, ge=0, description="Of an hour.")
    loads: bool | None = Field(
        default=None, description="Whether it began with the load of another model, if known."
    )

    @property
    def size(self) -> tuple[float | None, float, float]:
        """What tells it apart from other work of its kind."""
        return self.amount, self.megapixels, self.count


class SeenKind(_Part):
    """Runs of one kind with one model, the newest first."""

    kind: str = Field(max_length=_NAME)
    model: str | None = Field(default=None, max_length=_NAME)
    runs: tuple[SeenRun, ...] = Field(min_length=1)


class SeenAgent(_Part):
    """An agent that was heard of."""

    at: float = Field(ge=0, description="When, in seconds since the epoch.")
    places: int = Field(default=1, ge=1, description="Jobs that its runtime does at once.")


class LatestRun(_Part):
    """What a run of any kind took of the GPU, for what jobs take on average."""

    at: float = Field(ge=0)
    gpu_seconds: float = Field(gt=0)


class SeenRuns(_Part):
    """All that the agents of a runtime know together."""

    kinds: tuple[SeenKind, ...] = ()
    latest: tuple[LatestRun, ...] = ()
    agents: dict[str, SeenAgent] = Field(default_factory=dict)

    @classmethod
    def of(cls, work: Work, run: SeenRun) -> Self:
        """One run."""
        model = None if work.model is None else work.model[:_NAME]
        kind = SeenKind(kind=work.kind[:_NAME], model=model, runs=(run,))
        return cls(kinds=(kind,), latest=(LatestRun(at=run.at, gpu_seconds=run.gpu_seconds),))

    def merged(self, *others: "SeenRuns") -> "SeenRuns":
        """What all know, and no more than is to be kept; the order does not matter."""
        every = (self, *others)
        runs: dict[tuple[str, str | None], set[SeenRun]] = defaultdict(set)
        agents: dict[str, SeenAgent] = {}
        for one in every:
            for kind in one.kinds:
                runs[kind.kind, kind.model] |= set(kind.runs)
            for name, agent in one.agents.items():
                agents[name] = max(agents.get(name, agent), agent, key=lambda it: it.at)
        kinds = sorted(
            (
                SeenKind(kind=kind, model=model, runs=_kept(of))
                for (kind, model), of in runs.items()
            ),
            key=lambda it: (-it.runs[0].at, it.kind, it.model or ""),
        )
        latest = {run for one in every for run in one.latest}
        return SeenRuns(
            kinds=tuple(kinds[:_KINDS]),
            latest=tuple(sorted(latest, key=lambda it: (-it.at, it.gpu_seconds))[:_LATEST]),
            agents=_present(agents),
        )

    def seen_by(self, name: str, agent: SeenAgent) -> "SeenRuns":
        """The same, and that this agent is there."""
        return self.merged(SeenRuns(agents={name[:_NAME]: agent}))

    def without(self, name: str) -> "SeenRuns":
        """The same, and that this agent is gone."""
        agents = {known: agent for known, agent in self.agents.items() if known != name[:_NAME]}
        return self.model_copy(update={"agents": agents})

    def places(self, now: float) -> int | None:
        """Jobs that the agents heard of lately do at once; None: of none was ever heard."""
        if not self.agents:
            return None
        return sum(agent.places for agent in self.agents.values() if now - agent.at < PRESENT)

    def to_json(self) -> bytes:
        """As it is written."""
        return self.model_dump_json(exclude_defaults=True).encode()


def _kept(runs: Iterable[SeenRun]) -> tuple[SeenRun, ...]:
    """The newest of each size, and of all sizes."""
    sizes: Counter[tuple[float | None, float, float]] = Counter()
    found = []
    for run in sorted(runs, key=lambda it: (-it.at, it.model_dump_json())):
        sizes[run.size] += 1
        if sizes[run.size] <= _OF_A_SIZE:
            found.append(run)
    return tuple(found[:_OF_A_KIND])


def _present(agents: dict[str, SeenAgent]) -> dict[str, SeenAgent]:
    """Those that were heard of since the latest began to count as gone, by name."""
    latest = max((agent.at for agent in agents.values()), default=0.0)
    newest = sorted(agents.items(), key=lambda it: (-it[1].at, it[0]))[:_AGENTS]
    return {name: agent for name, agent in sorted(newest) if latest - agent.at < PRESENT}
