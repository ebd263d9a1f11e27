"""What the scaler shows on `/metrics`, as Prometheus sees it."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.exposition import choose_encoder

from queue_agent.scaling.decision import QueuedWork


class ScalerMetrics:
    """The decision, and what it goes by; every series has the label `runtime`."""

    def __init__(self, runtime: str) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            every = ("runtime", *labels)
            return Gauge(f"queue_agent_scaler_{name}", text, every, registry=registry)

        self._runtime = runtime
        self._pods = gauge("pods", "Pods that are wanted.").labels(runtime)
        self._load = gauge("load", "Pods that steady work keeps busy.").labels(runtime)
        self._mean = gauge("job_seconds", "What a job takes, on average.").labels(runtime)
        self._kinds = gauge("kind_seconds", "What a job of the kind takes.", "task_type")
        self._messages = gauge("messages", "Messages in the queue, about.", "state")
        looks = Counter(
            "queue_agent_scaler_looks",
            "Questions to the queue, by what came of them.",
            ("runtime", "result"),
            registry=registry,
        )
        self._answered, self._failed = (looks.labels(runtime, it) for it in ("answered", "failed"))

    def decided(self, pods: int, work: QueuedWork, by_kind: Mapping[str, float]) -> None:
        """The queue answered, and that follows."""
        self._answered.inc()
        self._pods.set(pods)
        self._load.set(work.load or 0.0)
        self._mean.set(work.job_seconds)
        self._messages.labels(self._runtime, "waiting").set(work.waiting)
        self._messages.labels(self._runtime, "in_flight").set(work.in_flight)
        for kind, seconds in by_kind.items():
            self._kinds.labels(self._runtime, kind).set(seconds)

    def failed(self) -> None:
        """The queue did not answer."""
        self._failed.inc()

    def page(self, accept: str) -> tuple[bytes, str]:
        """The page for an ``Accept`` header, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type
