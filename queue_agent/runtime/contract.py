"""The contract of a runtime adapter.

An adapter says what its runtime can do and speaks its API. It knows nothing of queues,
buckets, leases or retries. To add one: subclass `Runtime`, name the class as an entry point
in the group ``queue_agent.runtimes``, and let `queue_agent.testing.RuntimeContract` test it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import JsonValue

from queue_agent.media.asset import Asset
from queue_agent.wire.job import Job
from queue_agent.wire.reference import Reference

ArtifactRole = Literal["output", "grid", "extra"]


Assets = Mapping[str, Asset]
"""Assets by the URL of their reference; a URL that stands in two fields is fetched once."""


@dataclass(frozen=True)
class Artifact:
    """One file a runtime produced."""

    data: bytes = field(repr=False)
    media_type: str
    seed: int | None = None
    info: str | None = None
    """The runtime's own description of how it was made (the Web UI's infotext)."""
    role: ArtifactRole = "output"
    """`grid` is a contact sheet of the outputs; `extra` a by-product such as a detected map."""


@dataclass(frozen=True)
class Output:
    """What a run produced: artifacts, and the runtime's answer without the binary data."""

    artifacts: tuple[Artifact, ...]
    response: dict[str, JsonValue] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A job translated to the runtime's request; subclass it to carry more."""

    job: Job
    request: dict[str, JsonValue] = field(repr=False)
    warnings: tuple[str, ...] = ()
    """Fields the runtime cannot honour, in words for the publisher."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    fraction: float
    """From 0 to 1; never falls within a run."""
    step: int | None = None
    steps: int | None = None
    node: str | None = None
    """The part of the work under way, where the runtime names parts."""


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True)
class RuntimeOptions:
    """What the operator says of the runtime; each adapter takes what concerns it."""

    base_url: str | None = None
    """Scheme, host and port, without a trailing slash; None for the adapter's default."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """To send with each request beside the credentials; one of the same name replaces them."""
    switch_models: bool = True
    """Whether a job may make the runtime load another model."""


class Runtime(ABC):
    """One image server, behind the same five methods.

    Errors raised are of `queue_agent.wire.errors` only: `Rejected` when the job is at fault,
    `Unavailable` when the runtime is.
    """

    name: ClassVar[str]
    """The entry point's name, e.g. ``"webui"``."""
    task_types: ClassVar[frozenset[str]]
    default_url: ClassVar[str]
    """Where the runtime listens when nothing else is said."""
    concurrency: int = 1
    """How many jobs the runtime truly works on at the same time."""
    backlog: int = 0
    """How many more it keeps in a queue of its own, in order, without harm to the others."""

    @abstractmethod
    def __init__(self, options: RuntimeOptions) -> None:
        """Take the options; must not connect, and needs no running event loop."""

    @abstractmethod
    async def ready(self) -> bool:
        """Whether a job sent now would be worked on. Cheap; never raises."""

    @abstractmethod
    def references(self, job: Job) -> Iterable[Reference]:
        """The inputs named by URL in the fields of the content that hold media, no others."""

    @abstractmethod
    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        """Translate the job and upload inputs where the API wants that; uses no GPU."""

    @abstractmethod
    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        """Do the work on the GPU.

        Cancelling this call stops the work on the runtime itself, not only the waiting,
        and touches no other job's work.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close connections; the adapter is not used afterwards."""
