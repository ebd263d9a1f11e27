"""The cloud as the rest of the package sees it: ports, and the providers behind them."""

from queue_agent.cloud.deployment import Deployment
from queue_agent.cloud.ports import (
    Backlog,
    Bucket,
    Cloud,
    ListedObject,
    Message,
    ObjectPart,
    Queue,
    QueuePolicy,
    Routing,
    Sink,
    Topic,
    Versioned,
)
from queue_agent.wire.publication import Ordering, Publication

__all__ = [
    "Backlog",
    "Bucket",
    "Cloud",
    "Deployment",
    "ListedObject",
    "Message",
    "ObjectPart",
    "Ordering",
    "Publication",
    "Queue",
    "QueuePolicy",
    "Routing",
    "Sink",
    "Topic",
    "Versioned",
]
