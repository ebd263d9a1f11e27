"""What Prometheus is told.

Rates come from its own `rate()`: steps per second of `diffusers_steps_total`, images per second
of `diffusers_images_total`, the busy share of the device of `diffusers_step_seconds_total`.
https://prometheus.io/docs/practices/naming/
"""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.model import Observer

_BATCH_SIZES: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_JOB_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)


class EngineMetrics(Observer):
    """Counts what the engine does."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._batch = Histogram(
            "diffusers_batch_size",
            "Images that shared a step.",
            buckets=_BATCH_SIZES,
            registry=registry,
        )
        self._rows = Counter(
            "diffusers_rows", "Rows that steps asked the network for.", registry=registry
        )
        self._skipped = Counter(
            "diffusers_rows_skipped",
            "Of these, what a step cache answered instead of a whole pass.",
            ["quality"],
            registry=registry,
        )
        self._steps = Counter(
            "diffusers_steps", "Steps taken, each by all images of its batch.", registry=registry
        )
        self._step_seconds = Counter(
            "diffusers_step_seconds", "Seconds spent in steps.", registry=registry
        )
        self._images = Counter("diffusers_images", "Images completed.", registry=registry)
        self._videos = Counter("diffusers_videos", "Videos completed.", registry=registry)
        self._jobs = Counter("diffusers_jobs", "Jobs that ended.", ["state"], registry=registry)
        self._job_seconds = Histogram(
            "diffusers_job_seconds",
            "From a job's arrival to its end.",
            ["state"],
            buckets=_JOB_SECONDS,
            registry=registry,
        )
        self._loads = Counter(
            "diffusers_model_loads", "Models loaded.", ["model"], registry=registry
        )
        self._load_seconds = Counter(
            "diffusers_model_load_seconds", "Seconds spent loading.", ["model"], registry=registry
        )
        self._load_bytes = Counter(
            "diffusers_model_load_bytes", "Bytes of weights loaded.", ["model"], registry=registry
        )
        self._unloads = Counter(
            "diffusers_model_unloads", "Models let go.", ["model"], registry=registry
        )
        self._halved = Counter(
            "diffusers_batches_halved", "Batches that failed and were halved.", registry=registry
        )

        self._resumed = Counter(
            "diffusers_steps_resumed",
            "Steps of images that were not taken again, thanks to a checkpoint.",
            registry=registry,
        )
        self._ignored = Counter(
            "diffusers_checkpoints_ignored",
            "Checkpoints of jobs that could not be used.",
            registry=registry,
        )
        self._checkpoints = Counter(
            "diffusers_checkpoints", "Checkpoints handed out.", registry=registry
        )
        self._checkpoint_bytes = Counter(
            "diffusers_checkpoint_bytes", "Bytes of checkpoints handed out.", registry=registry
        )

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Report what `read` says whenever Prometheus asks."""
        Gauge(name, description, registry=self._registry).set_function(read)

    def stepped(self, images: int, rows: int, seconds: float) -> None:
        """See `Observer`."""
        self._batch.observe(images)
        self._rows.inc(rows)
        self._steps.inc()
        self._step_seconds.inc(seconds)

    def skipped(self, quality: Quality, rows: int) -> None:
        """See `Observer`."""
        self._skipped.labels(quality).inc(rows)

    def finished(self, state: str, images: int, videos: int, seconds: float) -> None:
        """See `Observer`."""
        self._jobs.labels(state).inc()
        self._job_seconds.labels(state).observe(seconds)
        if state == "completed":
            self._images.inc(images)
            self._videos.inc(videos)

    def loaded(self, model: str, seconds: float, size: int) -> None:
        """See `Observer`."""
        self._loads.labels(model).inc()
        self._load_seconds.labels(model).inc(seconds)
        self._load_bytes.labels(model).inc(size)

    def unloaded(self, model: str) -> None:
        """See `Observer`."""
        self._unloads.labels(model).inc()

    def resumed(self, steps: int) -> None:
        """See `Observer`."""
        self._resumed.inc(steps)

    def checkpoint_ignored(self) -> None:
        """See `Observer`."""
        self._ignored.inc()

    def checkpointed(self, size: int) -> None:
        """See `Observer`."""
        self._checkpoints.inc()
        self._checkpoint_bytes.inc(size)

    def halved(self) -> None:
        """See `Observer`."""
        self._halved.inc()

    def page(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self._registry)
