"""A cloud that lives in memory, for tests of the agent and of those who publish to it.

It keeps the promises of `queue_agent.cloud` that providers keep: leases that run out, receive
counts and dead letters, filters, conditional creates. Time is the system's or a test's own
(`ManualClock`), and calls can be made to fail, to lose their answer or to hang (`Faults`).
"""

from queue_agent.cloud.memory.bucket import MemoryBucket, StoredObject
from queue_agent.cloud.memory.clock import Clock, ManualClock, SystemClock, Timer
from queue_agent.cloud.memory.cloud import MemoryCloud
from queue_agent.cloud.memory.faults import Call, Faults, HeldCall, Operation
from queue_agent.cloud.memory.queue import MemoryQueue
from queue_agent.cloud.memory.topic import Condition, FilterPolicy, MemoryTopic

__all__ = [
    "Call",
    "Clock",
    "Condition",
    "Faults",
    "FilterPolicy",
    "HeldCall",
    "ManualClock",
    "MemoryBucket",
    "MemoryCloud",
    "MemoryQueue",
    "MemoryTopic",
    "Operation",
    "StoredObject",
    "SystemClock",
    "Timer",
]
