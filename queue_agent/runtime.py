"""The contract of a runtime adapter, and how installed adapters are found.

An adapter says what its runtime can do and speaks its API. It knows nothing of queues,
buckets, leases or retries. To add one: subclass `Runtime`, name the class as an entry point
in the group ``queue_agent.runtimes``, and let `queue_agent.testing.RuntimeContract` test it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, Literal

from pydantic import JsonValue

from queue_agent.asset import Asset
from queue_agent.errors import SettingsError
from queue_agent.job import Job

__all__ = [
    "ENTRY_POINT_GROUP",
    "Artifact",
    "ArtifactRole",
    "Asset",
    "Assets",
    "MediaKind",
    "Output",
    "Prepared",
    "Progress",
    "ProgressCallback",
    "Reference",
    "Runtime",
    "RuntimeOptions",
    "installed_runtimes",
    "is_url",
    "load_runtime",
]

ENTRY_POINT_GROUP = "queue_agent.runtimes"

MediaKind = Literal["image", "video", "audio"]
ArtifactRole = Literal["output", "grid", "extra"]


@dataclass(frozen=True)
class Reference:
    """An input named by URL in the content."""

    url: str
    path: tuple[str | int, ...]
    """Where in the content it stands, e.g. ``("init_images", 0)``; for messages to people."""
    kind: MediaKind = "image"


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
    switch_models: bool = True
    """Whether a job may make the runtime load another model."""


class Runtime(ABC):
    """One image server, behind the same five methods.

    Errors raised are of `queue_agent.errors` only: `Rejected` when the job is at fault,
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


def installed_runtimes() -> dict[str, EntryPoint]:
    """Entry points of the installed adapters, by name, without importing them."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def load_runtime(name: str) -> type[Runtime]:
    """Import the adapter of that name.

    Raises:
        SettingsError: no adapter of that name is installed, or it cannot be imported.
    """
    installed = installed_runtimes()
    if name not in installed:
        known = ", ".join(sorted(installed)) or "none"
        raise SettingsError(f"No runtime adapter is called {name!r}; installed: {known}.")
    try:
        adapter = installed[name].load()
    except ImportError as error:
        raise SettingsError(f"The runtime adapter {name!r} cannot be imported: {error}") from error
    if not (isinstance(adapter, type) and issubclass(adapter, Runtime)):
        raise SettingsError(f"The entry point {name!r} does not name a Runtime.")
    return adapter


def is_url(value: object) -> bool:
    """Whether a field's value names a place (has a scheme) rather than carrying the data.

    ``data:`` URLs carry their data, and base64 text has no ``://``.
    """
    return isinstance(value, str) and "://" in value[:64]
