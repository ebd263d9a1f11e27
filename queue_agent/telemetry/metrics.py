"""What the agent counts and times; docs/reference/metrics.md lists it as Prometheus sees it.

Labels hold only what the operator or this code decides: a job can add no value to them.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, NoOpMeter, Observation

from queue_agent.cloud import Backlog, Message
from queue_agent.cloud.refusals import REASONS
from queue_agent.wire.foreign import ForeignKind

_BOUNDARIES: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0
)  # fmt: skip
"""Seconds, from a notification to the longest run."""
_MOST_ERROR_TYPES: Final = 64
_OTHER: Final = "other"

Labels = Mapping[str, str]

_LABELLED: Final = frozenset(
    {
        "cloud.refusals",
        "content.checks",
        "failed.attempts",
        "ignored.messages",
        "job.errors",
        "jobs",
        "receives",
    }
)

_COUNTERS: Final[Mapping[str, tuple[str, str]]] = {
    "jobs": ("", "Jobs whose end was told to subscribers."),
    "job.errors": ("", "Jobs that ended without images, by the type of their error."),
    "failed.attempts": ("", "Attempts that failed and whose messages were given back."),
    "receives": ("", "Requests for messages, by what came of them."),
    "messages": ("", "Messages received."),
    "redeliveries": ("", "Messages received that had been delivered before."),
    "heartbeats": ("", "Renewals of leases."),
    "lease.losses": ("", "Leases that the queue had taken away."),
    "quarantines": ("", "Messages put aside in the bucket, because nobody could work on them."),
    "put.off.messages": (
        "",
        "Messages put off: their job is paused, or its tenant has enough in flight.",
    ),
    "ignored.messages": (
        "",
        "Messages that ask for nothing: acknowledged, not answered.",
    ),
    "moved.jobs": ("", "Jobs that had lost their attempts on spot nodes and were sent on demand."),
    "checkpoints": ("", "Checkpoints of runs that were written to the bucket."),
    "saved.steps": ("", "Steps of images that were not taken again, thanks to a checkpoint."),
    "dead.letters": ("", "Messages left to the dead-letter queue after the last attempt."),
    "model.switches": ("", "Jobs that named another model than the one before them."),
    "cloud.refusals": ("", "Calls that the cloud refused or did not answer, by the reason."),
    "content.checks": (
        "",
        "Answers of the content check, by its verdict; none: none in time, or none to follow.",
    ),
    "input": ("By", "Inputs fetched."),
    "output": ("By", "Artifacts stored."),
}
_DURATIONS: Final = {
    "job.duration": "From publication until subscribers were told of the end.",
    "step.duration": "Time that one step of a journey took.",
    "queue.time": "From publication to receipt.",
    "warm_up.duration": "Time that the warm-up of the runtime took, where it ended well.",
    "message.hold.time": "From receipt until the runtime worked on the job.",
}
_GAUGES: Final = {
    "runtime.ready": ("", "1 while the runtime would work on a job, else 0."),
    "runtime.state": ("", "1 for the state that the runtime is in, 0 for the others."),
    "paused": ("", "1 while operators have paused the runtime, else 0."),
    "clock.offset": ("s", "Seconds by which the cloud's clock is ahead of this machine's."),
    "queue.messages": ("", "Messages in the queue, about."),
    "queue.age": ("s", "Time in the queue of the last message received; 0 after an empty answer."),
}
_VERDICTS: Final = ("pass", "withhold", "replace", "none")
_RUNTIME_STATES: Final = ("ready", "away", "starting", "misconfigured", "stuck", "sick")
_GPU: Final = {
    "gpu.busy": "Time in which the runtime worked on a job.",
    "gpu.idle": "Time in which the runtime had no job.",
}


def _of_queue(name: str) -> Labels:
    """The label of one queue among several; an only one has none."""
    return {"queue": name} if name else {}


class Metrics:
    """The instruments of one agent. Without a meter, nothing is measured. Durations in seconds."""

    def __init__(
        self,
        meter: Meter | None = None,
        *,
        runtime: str = "",
        task_types: Collection[str] = (),
    ) -> None:
        """`task_types` are those that get a label of their own."""
        self.exported = meter is not None
        self._meter = meter or NoOpMeter("queue_agent")
        self._runtime = {"runtime": runtime}
        self._task_types = frozenset(task_types)
        self._error_types: set[str] = set()
        self._last_model: str | None = None
        self._counters = {
            name: self._meter.create_counter(f"queue_agent.{name}", unit, description)
            for name, (unit, description) in _COUNTERS.items()
        }
        self._durations = {
            name: self._meter.create_histogram(
                f"queue_agent.{name}",
                "s",
                description,
                explicit_bucket_boundaries_advisory=_BOUNDARIES,
            )
            for name, description in _DURATIONS.items()
        }
        self._gauges = {
            name: self._meter.create_gauge(f"queue_agent.{name}", unit, description)
            for name, (unit, description) in _GAUGES.items()
        }
        self._begin_at_zero()

    def received(self, messages: Sequence[Message], *, now: float, queue: str = "") -> None:
        """A request for messages was answered, at a moment by the queue's clock.

        `queue`: which of several it went to.
        """
        of = _of_queue(queue)
        self._count("receives", {"result": "messages" if messages else "empty", **of})
        labels = {**self._runtime, **of}
        if not messages:
            self._gauges["queue.age"].set(0.0, labels)
            return
        self._count("messages", of, amount=len(messages))
        if again := sum(message.receive_count > 1 for message in messages):
            self._count("redeliveries", of, amount=again)
        sent = [message.sent_at for message in messages if message.sent_at is not None]
        for moment in sent:
            self._durations["queue.time"].record(max(0.0, now - moment), labels)
        if sent:
            self._gauges["queue.age"].set(max(0.0, now - sent[-1]), labels)

    def receive_failed(self, *, queue: str = "") -> None:
        """A request for messages was not answered."""
        self._count("receives", {"result": "failed", **_of_queue(queue)})

    def heartbeat(self) -> None:
        """A lease was renewed."""
        self._count("heartbeats")

    def lease_lost(self) -> None:
        """The queue no longer accepts a receipt."""
        self._count("lease.losses")

    def quarantined(self) -> None:
        """A message that cannot be worked on was put aside."""
        self._count("quarantines")

    def ignored(self, kind: str) -> None:
        """A message asks for nothing."""
        self._count("ignored.messages", {"kind": kind})

    def left_to_dead_letters(self) -> None:
        """A message was answered for the last time, and left to the dead-letter queue."""
        self._count("dead.letters")

    def checkpointed(self) -> None:
        """What a run has done was written to the bucket."""
        self._count("checkpoints")

    def saved(self, steps: int) -> None:
        """A run went on after so many steps that another had taken."""
        self._count("saved.steps", amount=steps)

    def moved_on_demand(self) -> None:
        """A job was sent to the queue for on-demand capacity."""
        self._count("moved.jobs")

    def released(self, error_type: str) -> None:
        """An attempt failed, and its message was given back."""
        self._count("failed.attempts", {"error_type": self._error_type(error_type)})

    def cloud_refused(self, service: str, reason: str) -> None:
        """A call was refused; service and reason are words of this project."""
        self._count("cloud.refusals", {"service": service, "reason": reason})

    def content_checked(self, verdict: str) -> None:
        """The content check was asked about a file: `pass`, `withhold`, `replace` or `none`."""
        self._count("content.checks", {"verdict": verdict})

    def fetched(self, size: int) -> None:
        """Inputs of so many bytes were fetched."""
        if size:
            self._count("input", amount=size)

    def stored(self, size: int) -> None:
        """Artifacts of so many bytes were stored."""
        self._count("output", amount=size)

    def began(self, model: str | None, held: float) -> None:
        """The runtime began with a job whose message was held for so long."""
        self._durations["message.hold.time"].record(held, self._runtime)
        if model is None:
            return
        if self._last_model not in {None, model}:
            self._count("model.switches")
        self._last_model = model

    def step(self, name: str, seconds: float, task_type: str | None) -> None:
        """A step of a journey took so long."""
        labels = {**self._runtime, "step": name, "task_type": self._task_type(task_type)}
        self._durations["step.duration"].record(seconds, labels)

    def answered(
        self,
        status: str,
        task_type: str | None,
        *,
        error_type: str | None = None,
        since_published: float | None = None,
    ) -> None:
        """A job's end was told to subscribers."""
        labels = {"status": status, "task_type": self._task_type(task_type)}
        self._count("jobs", labels)
        if error_type is not None:
            self._count("job.errors", {"error_type": self._error_type(error_type)})
        if since_published is not None:
            self._durations["job.duration"].record(since_published, {**self._runtime, **labels})

    def warmed_up(self, seconds: float) -> None:
        """The runtime did its first job since its start, for nobody, which took so long."""
        self._durations["warm_up.duration"].record(seconds, self._runtime)

    def runtime_is(self, state: str) -> None:
        """The runtime is ready, away, starting, stuck or sick."""
        self._gauges["runtime.ready"].set(int(state == "ready"), self._runtime)
        for each in _RUNTIME_STATES:
            self._gauges["runtime.state"].set(int(state == each), {**self._runtime, "state": each})

    def put_off(self) -> None:
        """A message comes again later, since its job is paused."""
        self._count("put.off.messages")

    def is_paused(self, *, paused: bool) -> None:
        """Whether operators have paused the whole runtime."""
        self._gauges["paused"].set(int(paused), self._runtime)

    def clock_offset(self, seconds: float) -> None:
        """The cloud's clock is ahead by so much."""
        self._gauges["clock.offset"].set(seconds, self._runtime)

    def backlog(self, backlog: Backlog, *, queue: str = "") -> None:
        """What the queue holds, about."""
        labels = {**self._runtime, **_of_queue(queue)}
        for state, count in (("waiting", backlog.waiting), ("in_flight", backlog.in_flight)):
            self._gauges["queue.messages"].set(count, {**labels, "state": state})

    def observe_gpu(self, seconds: Callable[[], tuple[float, float]]) -> None:
        """Export what this returns: seconds in which the runtime had work, and had none."""
        for place, (name, description) in enumerate(_GPU.items()):

            def observe(_: CallbackOptions, place: int = place) -> Iterable[Observation]:
                yield Observation(seconds()[place], self._runtime)

            self._meter.create_observable_counter(
                f"queue_agent.{name}", [observe], "s", description
            )

    def observe_in_flight(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Export what this returns: how many jobs are at each stage."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for stage, jobs in count().items():
                yield Observation(jobs, {**self._runtime, "stage": stage})

        self._meter.create_observable_gauge(
            "queue_agent.jobs.in_flight", [observe], "", "Jobs held by the agent, by stage."
        )

    def observe_certificate(self, remaining: Callable[[], float]) -> None:
        """Export what this returns: for how long the certificate is good that files have."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            yield Observation(remaining(), self._runtime)

        self._meter.create_observable_gauge(
            "queue_agent.signing.certificate.remaining",
            [observe],
            "s",
            "Seconds until the certificate that signs files expires; less than 0: it has.",
        )

    def _begin_at_zero(self) -> None:
        """So that the first event is an increase and not the birth of a series."""
        self.is_paused(paused=False)
        for result in ("messages", "empty", "failed"):
            self._counters["receives"].add(0, {**self._runtime, "result": result})
        for kind in ForeignKind:
            self._counters["ignored.messages"].add(0, {**self._runtime, "kind": kind.value})
        for verdict in _VERDICTS:
            self._counters["content.checks"].add(0, {**self._runtime, "verdict": verdict})
        for service in ("queue", "topic", "bucket"):
            for reason in REASONS:
                labels = {**self._runtime, "service": service, "reason": reason}
                self._counters["cloud.refusals"].add(0, labels)
        for task_type in self._task_types:
            for status in ("completed", "failed", "cancelled", "expired"):
                labels = {**self._runtime, "status": status, "task_type": task_type}
                self._counters["jobs"].add(0, labels)
        for name, counter in self._counters.items():
            if name not in _LABELLED:
                counter.add(0, self._runtime)

    def _count(self, name: str, labels: Labels | None = None, *, amount: int = 1) -> None:
        self._counters[name].add(amount, {**self._runtime, **(labels or {})})

    def _task_type(self, task_type: str | None) -> str:
        return task_type if task_type in self._task_types else _OTHER

    def _error_type(self, error_type: str) -> str:
        """The words that adapters use are few, but nobody promises it."""
        if len(self._error_types) < _MOST_ERROR_TYPES:
            self._error_types.add(error_type)
        return error_type if error_type in self._error_types else _OTHER
