"""A worker of three queues on a cloud in memory, in a loop whose time passes by itself."""

import asyncio
from collections.abc import Mapping

from queue_agent.cloud.memory import Faults, MemoryCloud, MemoryQueue
from queue_agent.worker.policy import Allowance
from queue_agent.worker.queue_order import QueueOrder
from worker_bench import NAME, Bench, LoopClock

NAMES = ("high", "normal", "low")


class Several:
    """A bench with three queues, each with its own dead letters after some deliveries."""

    def __init__(
        self,
        *,
        order: QueueOrder | None = None,
        max_receives: Mapping[str, int] | None = None,
        **policy: object,
    ) -> None:
        self.cloud = MemoryCloud(LoopClock())
        self.dead = {name: self.cloud.queue(f"{name}-dead") for name in NAMES}
        most = max_receives or {}
        self.faults = {name: Faults() for name in NAMES}
        self.queues = {
            name: MemoryQueue(
                self.cloud.clock,
                self.faults[name],
                max_receives=most.get(name, 3),
                dead_letters=self.dead[name],
            )
            for name in NAMES
        }
        self.bench = Bench(
            cloud=self.cloud,
            queues=self.queues,
            order=order,
            policy={
                "allowances": {name: Allowance(most.get(name, 3), True) for name in NAMES},
                **policy,
            },
        )

    def put(self, queue: str, *job_ids: str) -> None:
        for job_id in job_ids:
            self.queues[queue].put(self.bench.body(job_id), {"runtime": NAME})

    async def emptied(self) -> None:
        while any(queue.bodies for queue in self.queues.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    def order_of_runs(self) -> list[str]:
        return [one.id for one in self.bench.told()]

    def receives(self) -> int:
        calls = [call for faults in self.faults.values() for call in faults.calls]
        return sum(call.operation == "queue.receive" for call in calls)
