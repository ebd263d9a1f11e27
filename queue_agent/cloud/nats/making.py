"""The streams, consumers and buckets of a deployment, made where they are not there yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from queue_agent.cloud.nats.addresses import NatsAddress
from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.queues import DEAD_LETTERS, MAX_RECEIVES
from queue_agent.cloud.nats.subjects import tenants_subject, turns_subject

DAY: Final = 86_400.0
_DUPLICATES: Final = 300.0
"""Seconds for which a message is known again; SQS and SNS have the same."""
_KEPT: Final = 14 * DAY
_NOTIFICATIONS_KEPT: Final = 3 * DAY
_MOST_POLLS: Final = 4096
"""Agents that may ask a consumer at the same time."""


@dataclass(frozen=True)
class NatsResource:
    """One stream, or a consumer of one."""

    stream: str
    config: StreamConfig | ConsumerConfig = field(repr=False)

    @property
    def is_consumer(self) -> bool:
        """Whether it is a consumer."""
        return isinstance(self.config, ConsumerConfig)

    def __str__(self) -> str:
        if isinstance(self.config, ConsumerConfig):
            return f"consumer {self.config.durable_name} of stream {self.stream}"
        return f"stream {self.stream}"


def job_stream(
    name: str,
    *,
    replicas: int = 1,
    most_bytes: int | None = None,
    queues: Sequence[NatsAddress] = (),
    fair: Sequence[NatsAddress] = (),
) -> NatsResource:
    """Keeps jobs, or dead letters, until they are acknowledged; takes none that do not fit.

    `queues`: those of a priority take jobs by subjects of their own; without, none are taken.
    `fair`: those whose tenants take turns.
    """
    places = [queue.subject(name) for queue in queues if queue.priority]
    for queue in fair:
        subject = queue.subject(name)
        places += [tenants_subject(subject), turns_subject(subject)]
    return NatsResource(
        name,
        StreamConfig(
            name=name,
            subjects=[f"{name}.*", *places],
            retention=RetentionPolicy.WORK_QUEUE,
            discard=DiscardPolicy.NEW,
            storage=StorageType.FILE,
            max_age=_KEPT,
            duplicate_window=_DUPLICATES,
            max_bytes=most_bytes,
            num_replicas=replicas,
        ),
    )


def notification_stream(
    name: str, *, replicas: int = 1, most_bytes: int | None = None
) -> NatsResource:
    """Keeps notifications for those who come back to hear them."""
    return NatsResource(
        name,
        StreamConfig(
            name=name,
            subjects=[f"{name}.>"],
            discard=DiscardPolicy.OLD,
            storage=StorageType.FILE,
            max_age=_NOTIFICATIONS_KEPT,
            duplicate_window=_DUPLICATES,
            max_bytes=most_bytes,
            num_replicas=replicas,
        ),
    )


def consumer(
    queue: NatsAddress,
    *,
    lease: float = 30.0,
    max_receives: int | None = None,
    dead_letters: str | None = None,
    fair: bool = False,
) -> NatsResource:
    """The queue of a runtime; `max_receives` and the stream of `dead_letters` go together.

    `fair`: its tenants take turns; there must be its `turns`, too.
    """
    metadata: Mapping[str, str] = {}
    if max_receives is not None and dead_letters is not None:
        metadata = {MAX_RECEIVES: str(max_receives), DEAD_LETTERS: dead_letters}
    subject = queue.subject()
    subjects = [subject, tenants_subject(subject)] if fair else [subject]
    return _pulled(queue.stream, queue.consumer, subjects, lease, metadata)


def turns(queue: NatsAddress, *, lease: float = 30.0) -> NatsResource:
    """Of a fair queue, the jobs that go before earlier ones."""
    return _pulled(queue.stream, queue.turns, [turns_subject(queue.subject())], lease, {})


def _pulled(
    stream: str, name: str, subjects: Sequence[str], lease: float, metadata: Mapping[str, str]
) -> NatsResource:
    return NatsResource(
        stream,
        ConsumerConfig(
            name=name,
            durable_name=name,
            filter_subject=subjects[0] if len(subjects) == 1 else None,
            filter_subjects=list(subjects) if len(subjects) > 1 else None,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=lease,
            max_deliver=-1,
            max_ack_pending=-1,
            max_waiting=_MOST_POLLS,
            metadata=dict(metadata),
        ),
    )


def bucket(
    name: str, *, replicas: int = 1, most_bytes: int | None = None
) -> tuple[NatsResource, NatsResource]:
    """A key-value bucket and an object store of the name, as NATS's own tools make them."""
    entries = StreamConfig(
        name=f"KV_{name}",
        subjects=[f"$KV.{name}.>"],
        max_msgs_per_subject=1,
        discard=DiscardPolicy.NEW,
        storage=StorageType.FILE,
        max_bytes=most_bytes,
        num_replicas=replicas,
        allow_rollup_hdrs=True,
        deny_delete=True,
        allow_direct=True,
    )
    objects = StreamConfig(
        name=f"OBJ_{name}",
        subjects=[f"$O.{name}.C.>", f"$O.{name}.M.>"],
        discard=DiscardPolicy.NEW,
        storage=StorageType.FILE,
        max_bytes=most_bytes,
        num_replicas=replicas,
        allow_rollup_hdrs=True,
        allow_direct=True,
    )
    return NatsResource(f"KV_{name}", entries), NatsResource(f"OBJ_{name}", objects)


async def make(connection: Connection, wanted: NatsResource) -> None:
    """Make it.

    Raises:
        Unavailable: the servers do not answer, or refuse; or it is there and differs.
    """
    async with connection.using(f"make {wanted}") as js:
        if isinstance(wanted.config, ConsumerConfig):
            await js.add_consumer(wanted.stream, wanted.config)
        else:
            await js.add_stream(wanted.config)
