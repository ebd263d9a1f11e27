"""The contract of a runtime adapter.

An adapter says what its runtime can do and speaks its API. It knows nothing of queues,
buckets, leases or retries. To add one: subclass `Runtime`, name the class as an entry point
in the group ``queue_agent.runtimes``, and let `queue_agent.testing.RuntimeContract` test it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, JsonValue

from queue_agent.media.asset import Asset
from queue_agent.runtime.model_use import Loaded, ModelUse
from queue_agent.runtime.places import refuse_unfetched
from queue_agent.wire.job import Job
from queue_agent.wire.model_files import ModelFile, read_model_files
from queue_agent.wire.offer import Capabilities, NamedWorkflow
from queue_agent.wire.output import OutputOptions
from queue_agent.wire.reference import Reference
from queue_agent.wire.work import Work, work_of

ArtifactRole = Literal["output", "grid", "extra"]


Assets = Mapping[str, Asset]
"""Assets by the URL of their reference; a URL that stands in two fields is fetched once."""


@dataclass(frozen=True)
class Artifact(Asset):
    """One file a runtime produced: bytes or, where it is large, a file that holds them.

    Large ones are best written into a `Spool` as they come.
    """

    seed: int | None = None
    info: str | None = None
    """The runtime's own description of how it was made (the Web UI's infotext)."""
    role: ArtifactRole = "output"
    """`grid` is a contact sheet of the outputs; `extra` a by-product such as a detected map."""
    extension: str = ""
    """What the runtime's own name of the file ends in, without the dot, where it named one; its
    object is called so where the media type has no better one."""


@dataclass(frozen=True)
class Output:
    """What a run produced: artifacts, and the runtime's answer without the binary data.

    The files of its artifacts are whoever's that has the output, and gone once it is closed.
    """

    artifacts: tuple[Artifact, ...]
    response: dict[str, JsonValue] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Outputs that were made and are not here, in words; each counts as a failed attempt.

    What is here is delivered all the same when the queue allows no other attempt.
    """
    wanted: OutputOptions | None = None
    """As of `Prepared`, from which the agent takes it."""
    steps_saved: int = 0
    """How many steps of all its images a checkpoint has saved."""

    @property
    def size(self) -> int:
        """Of all artifacts, in bytes."""
        return sum(artifact.size for artifact in self.artifacts)

    def close(self) -> None:
        """Give up the files of the artifacts."""
        for artifact in self.artifacts:
            artifact.close()


@dataclass(frozen=True)
class Prepared:
    """A job translated to the runtime's request; subclass it to carry more."""

    job: Job
    request: dict[str, JsonValue] = field(repr=False)
    warnings: tuple[str, ...] = ()
    """Fields the runtime cannot honour, in words for the publisher."""
    output: OutputOptions | None = field(default=None, kw_only=True)
    """How the job's own body asks for its files, where the runtime does not encode them so; what
    `metadata.output` says wins."""
    use: ModelUse = field(default_factory=ModelUse, kw_only=True)
    """What the job has the runtime load. A job of which that is not told is taken to need nothing
    else than is loaded."""
    checkpoint: bytes | None = field(default=None, repr=False, kw_only=True)
    """The data of what an attempt before has done (`Checkpoint`); set by the agent."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run has done so far; see `Runtime.checkpoint`."""

    data: bytes = field(repr=False)
    done: int
    """How much that is, as the runtime counts: steps, say. A later one of a run has more, and one
    of another run of the job that has more is further."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    fraction: float
    """From 0 to 1; never falls within a run."""
    step: int | None = None
    steps: int | None = None
    node: str | None = None
    """The part of the work under way, where the runtime names parts."""
    stage: str | None = None
    """What is done before the run, in words; `fraction` is of that alone."""
    preview: bytes | None = field(default=None, repr=False)
    """An image of the work under way, of a job that asks for them: PNG, JPEG or WebP of any size.

    The agent shows what it can use, as often as its operator allows, and no run fails by it.
    """


ProgressCallback = Callable[[Progress], None]
"""Takes a report of a run's progress; reports may come as often as they like."""


RuntimeState = Literal["ready", "away", "starting", "misconfigured", "stuck", "sick"]
"""`away`: it does not answer; `starting`: it answers and cannot work yet; `misconfigured`: what
answers lets the agent not in (credentials, address, certificate); `stuck`: it answers and works no
more; `sick`: it fails at whatever it is asked. The last two end when it is restarted."""


@dataclass(frozen=True)
class Readiness:
    """Whether a runtime would work on a job sent now; true only when `ready`."""

    state: RuntimeState = "ready"
    reason: str = ""
    """Why it is not ready, in words for the operator."""

    def __bool__(self) -> bool:
        return self.state == "ready"

    @classmethod
    def of(cls, answer: "bool | Readiness") -> "Readiness":
        """What an adapter answered, of which a plain no means `away`."""
        if isinstance(answer, Readiness):
            return answer
        return cls() if answer else cls("away", "the runtime does not answer")


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
    ca_file: Path | None = None
    """Certificates (PEM) of authorities to trust beside the system's, for ``https`` addresses."""
    switch_models: bool = True
    """Whether a job may make the runtime load another model."""
    workflows: Path | None = None
    """A folder of workflows that jobs ask for by name, for adapters of runtimes that have such."""
    files: Path | None = None
    """A folder with the runtime's own folders of files, which the agent shares, for adapters that
    remove from there what jobs leave; see `Runtime.clean_up`."""
    output_hosts: tuple[str, ...] = ()
    """Networks (CIDR), addresses, hosts and ``*.suffix`` hosts, beside the public internet, from
    which outputs are fetched that the server names by URL; see `OutputFetcher` of
    `queue_agent.runtime.http`."""
    checkpoint_limit: int | None = None
    """Bytes of a checkpoint that the agent keeps; a larger one is of no use. None: not told."""
    own: Mapping[str, JsonValue] = field(default_factory=dict)
    """What only this adapter understands, by the names in its `Runtime.own_options`; read by
    `queue_agent.runtime.own_options_of`."""


class Runtime(ABC):
    """One image server, behind the same five methods.

    **Errors.** `references`, `prepare` and `run` raise what `queue_agent.wire.errors` has, and no
    other exception: `Rejected` when the job is at fault, which ends it; `Unavailable` when the
    runtime is, or when in doubt, upon which the step is tried again: a few times at once, then
    by this or another agent until the queue's allowance is used up. Anything else is taken for
    a fault of the adapter and handled as `Unavailable` (type ``internal_error``).

    **Threads.** The object is made outside any event loop. All its methods are called on one
    loop, in one thread, which they must not hold up: what takes long without waiting belongs
    into `asyncio.to_thread`. They overlap: while jobs run, others are prepared, and readiness
    is asked at any moment.

    **Cancellation.** `ready`, `prepare` and `run` can be cancelled at any `await`, and again
    while they clean up after that. Whoever cancels waits for their end.
    """

    name: ClassVar[str]
    """The entry point's name, e.g. ``"webui"``."""
    task_types: ClassVar[frozenset[str]]
    """The kinds of job it can do; one of another kind is refused before the adapter hears of it.

    An object may have other ones than its class, by its options."""
    default_url: ClassVar[str]
    """Where the runtime listens when nothing else is said."""
    tells_of_the_start: ClassVar[bool] = False
    """Whether `run` reports progress, of 0 if need be, when the runtime begins with the job.

    For runtimes that others use too: the time limit counts from then, and not while they work
    for somebody else.
    """
    shows_previews: ClassVar[bool] = False
    """Whether `run` reports previews of jobs that ask for them (`Job.wants_previews`), as far as
    the server has some. Of other jobs it asks the server for none."""
    preloads: ClassVar[bool] = False
    """Whether the server can load a model beside its runs; see `preload`."""
    checkpoints: ClassVar[bool] = False
    """Whether a run can go on where another has ended; see `checkpoint`."""
    model_folders: ClassVar[frozenset[str]] = frozenset()
    """The folders, one for each kind of model, in which the runtime looks for files; of adapters
    whose jobs' models the agent may fetch."""
    own_options: ClassVar[type[BaseModel] | None] = None
    """What operators may say to this adapter alone (`RuntimeOptions.own`); None: nothing."""
    concurrency: int = 1
    """How many jobs the runtime truly works on at the same time; one or more.

    It and `backlog` are read at the start, before anything was asked of the server, and again
    after each `ready` that answered true before a message is taken: so `ready` is the place to
    learn them from the server, and they may change as long as the agent lives. When they fall,
    nothing that runs is stopped; new runs wait until there is room.
    """
    backlog: int = 0
    """How many more it keeps in a queue of its own, in order, without harm to the others.

    At no time are more than `concurrency` + `backlog` runs under way. With one in the backlog
    the GPU goes from a job to the next without waiting for the agent.
    """

    @abstractmethod
    def __init__(self, options: RuntimeOptions) -> None:
        """Take the options; must not connect, and needs no running event loop.

        The agent starts before the runtime does, and lists adapters without having one.

        Raises:
            SettingsError: the options cannot be used; with a line per fault.
        """

    @abstractmethod
    async def ready(self) -> bool | Readiness:
        """Whether a job sent now would be worked on. Cheap; never raises, whatever is answered.

        A `Readiness` says why not, and tells a runtime that starts from one that is stuck or sick,
        which the pod's liveness probe restarts. The reason is shown to the operator; what a
        server's answer means, `queue_agent.runtime.http.readiness_of` knows.

        Asked before messages are taken unless it answered true within the last second; every
        second while it answers false, when no messages are taken; and beside that by each probe
        of ``/readyz``, by the metrics every 15 seconds, and by ``queue-agent check``. The first
        of these wait for the answer: it should come within two seconds, as false if the server
        has given none.
        """

    @abstractmethod
    def references(self, job: Job) -> Iterable[Reference]:
        """The inputs named by URL in the fields of the content that hold media, no others.

        Asked before each `prepare`. Computes only, and leaves the job as it is.

        Raises:
            Rejected: the content cannot be understood.
        """

    def check_places(self, job: Job) -> None:
        """Refuse a job of which the runtime would fetch a part by itself.

        Asked before the references are fetched; computes only. By default, any text of the
        content that names a place is refused, except in the fields of `references` and in
        prompts. Override it where other fields hold words, or where references stand elsewhere
        than in the content; see `queue_agent.runtime.places`.

        Raises:
            Rejected: of type ``reference_forbidden``, with the field's path.
        """
        refuse_unfetched(job.content, fetched=self.references(job))

    def model_files(self, job: Job) -> Iterable[ModelFile]:
        """The models that the job brings with their URLs, and the names of others that it uses.

        What is missing is fetched before `prepare`, where the operator allows it, and none of
        them is removed before the run is over. Asked before each `prepare`; computes only. By
        default, those of ``metadata.models``.

        Raises:
            Rejected: the content, or the list, cannot be understood.
        """
        if not self.model_folders:
            return ()
        return read_model_files((job.metadata.model_extra or {}).get("models"), "metadata.models")

    def work(self, job: Job) -> Work:
        """How much work a job is, by which it is told of the next such what they will take.

        Asked after each run that went well; computes only. By default what the job's content
        tells, read as publishers read it (`queue_agent.wire.work`), who ask no adapter: so an
        adapter may say more, of workflows for example, and should not say otherwise.
        """
        return work_of(job)

    async def has_model(self, model: ModelFile) -> bool:
        """Whether the runtime has a file of that name, perhaps where the agent does not see it.

        Asked of what is missing in the agent's folder of models, before it is fetched.

        Raises:
            Unavailable: the runtime does not answer.
        """
        del model
        return False

    async def models_came(self, models: Sequence[ModelFile]) -> None:
        """Have the runtime see files that were fetched into its folders just now.

        Raises:
            Unavailable: the runtime does not answer.
        """
        del models

    async def models_replaced(self, models: Sequence[ModelFile]) -> None:
        """Have the runtime forget what it loaded from these files, which others replaced.

        Asked after `models_came`, of names under which this agent's jobs had other files before.

        Raises:
            Unavailable: the runtime does not answer.
        """
        del models

    def warm_up(self) -> Mapping[str, JsonValue] | None:
        """The body of a job that is soon done and has the server load what most jobs need.

        For operators who ask for it and name no job of their own; computes only. None: there is
        none, as where jobs name what the server cannot be asked for. By default, of runtimes
        that make images from text, a small one in one step, by the model that the server has.
        """
        if "text-to-image" not in self.task_types:
            return None
        content: dict[str, JsonValue] = {"prompt": "a cat", "steps": 1, "width": 512, "height": 512}
        return {"metadata": {"tasktype": "text-to-image"}, "content": content}

    @abstractmethod
    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        """Translate the job and upload inputs where the API wants that; uses no GPU.

        `assets` holds the bytes of all that `references` named; they can be read until the job's
        last run is over. Called while other jobs run, and again for the same job after it was
        `Unavailable`, or when the job is delivered again. A run need not follow.

        Raises:
            Rejected: the job cannot be done; the message tells its publisher why.
            Unavailable: the runtime was needed, and failed.
        """

    @abstractmethod
    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        """Do the work on the GPU.

        `prepared` is what this adapter's `prepare` returned. It is run again, as it is, after
        the run was `Unavailable`. `progress` is called on the loop's thread, returns at once and
        does not raise; the last report is of 1.0. How long it may take is the agent's to say:
        it cancels the run at the job's time limit, when the job is cancelled, and when the pod
        must go.

        Cancelling this call stops the work on the runtime itself, not only the waiting,
        and touches no other job's work. It ends within seconds, also where the server is gone or
        goes on with the work: what is left of it is asked of `still_runs`.

        Raises:
            Rejected: the runtime refused the job, or failed for a reason that lies in it.
            RuntimeAway: the runtime is gone, and never had the job; it waits, and spends nothing.
            RunLost: the runtime had the job and went away, or forgot it; perhaps the job is why.
                `submitted` and `not_yet_submitted` tell the two apart.
            Unavailable: the runtime failed, or gave an answer that makes no sense.
            RuntimeStuck: it holds the job and works on nothing. `ready` says so, too, until it
                works again; where it never does, the agent takes no jobs until it was away.
            RuntimeSick: it fails whatever it is asked, until it is started anew; see
                `queue_agent.runtime.failures`. The agent takes no jobs until it was away.
        """

    async def checkpoint(self, prepared: Prepared, *, stop: bool) -> Checkpoint | None:
        """What a run under way has done, with which another goes on; None: nothing worth it.

        The agent keeps its data as it is and hands that, perhaps on another pod with a server
        started later, to a run of the same job as `Prepared.checkpoint`. That run goes on from
        there and makes what it would have made undisturbed; from one that is damaged, or that the
        server cannot use, it begins anew, and fails no job. With `stop` the run ends there: it is
        cancelled next, and nothing that it does meanwhile is wanted. Only asked where
        `checkpoints`.

        Raises:
            Unavailable: the server does not answer; nothing hangs on it.
        """
        del prepared, stop
        return None

    async def still_runs(self, prepared: Prepared) -> bool | None:
        """Whether the runtime still works on a run that was cancelled; None: nobody can tell.

        Asked twice a second after a run was cancelled, until it is over. Until then the job's
        place counts as taken, so that no other job's time runs while the GPU is not free; and a
        runtime that goes on for longer than the rest of the run could take is *stuck*. The place
        for another order to stop, where servers lose one. Cheap.

        Where nobody can tell, which is what this method says unless it is overridden, the place
        is taken for as long as the run was expected to go on.

        Raises:
            Unavailable: the server does not answer; it is asked again, unless it is gone.
        """
        del prepared
        return None

    async def clean_up(self, job: Job, *, again: bool) -> None:  # noqa: B027  a choice
        """Remove what a job has left on the runtime: uploads, outputs, entries of a history.

        Called once this agent is done with the job, whatever it came to, and so perhaps without a
        `prepare` or a `run` before it: its result is stored, or, where `again`, this attempt has
        failed and the job may come again, to this agent or to another. Then whatever the next
        attempt can use may stay, and goes with the job's next call of this method. No
        other job's files may be touched, nor those of others who use the runtime. Does nothing
        unless it is overridden.

        Raises:
            Unavailable: something could not be removed; it is logged, and no job fails by it.
        """

    async def loaded(self) -> Loaded | None:
        """What the server has loaded; None: it cannot tell, and what was used last is taken for it.

        Where it can only tell of how many models it keeps, `Loaded.uses` is empty. Asked at the
        start, and after runs that had another model loaded. Cheap.

        Raises:
            Unavailable: the server does not answer.
        """
        return None

    async def preload(self, use: ModelUse) -> None:
        """Have the server load what a later job needs, beside its runs and without harm to them.

        Does nothing where there is no room for both. Only asked where `preloads`.

        Raises:
            Unavailable: the server does not answer; nothing hangs on it.
        """
        del use

    def workflows(self) -> Sequence[NamedWorkflow]:
        """What of `RuntimeOptions.workflows` jobs may ask for by name; fixed from the start.

        Adapters that know of none say so by this method as it is here.
        """
        return ()

    async def capabilities(self) -> Capabilities:
        """What the server has: models, samplers, LoRAs and the like, for those who ask for images.

        Asked when the server is first ready, when it is ready after it was away, and every few
        minutes; published where publishers and gateways read it, and nothing else hangs on it.
        Cheap: lists that the server has at hand, no look at each file. What cannot be told,
        which is everything unless this method is overridden, is left out.

        Raises:
            Unavailable: the server does not answer; it is asked again later.
        """
        return Capabilities()

    @abstractmethod
    async def aclose(self) -> None:
        """Close connections; the adapter is not used afterwards.

        Called once, on the same loop, when all else has ended; also where nothing was ever sent.
        """
