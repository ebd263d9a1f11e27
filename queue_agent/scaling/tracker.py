"""From one look at a queue to the next: the decision, with what it must remember."""

from queue_agent.scaling.decision import QueuedWork, ScalingAim, wanted_pods
from queue_agent.scaling.load import SteadyLoad, busy_pods


class WorkTracker:
    """Remembers what it asked for, and how the load has been; lost, it is there again soon."""

    def __init__(self, aim: ScalingAim) -> None:
        self._aim = aim
        self._load = SteadyLoad()
        self._knows_load = False
        self.pods = 0
        """That are wanted, as it was last decided."""

    def look(self, now: float, waiting: int, in_flight: int, job_seconds: float) -> QueuedWork:
        """Decide by what a queue holds at a moment, and a job takes; the work it was decided by."""
        load = self._load.look(
            now,
            busy=busy_pods(waiting, in_flight, self.pods if self._knows_load else None),
            held=waiting + in_flight,
            seconds=job_seconds,
        )
        self._knows_load = load is not None
        work = QueuedWork(waiting, in_flight, job_seconds, load)
        self.pods = wanted_pods(work, self._aim, self.pods)
        return work
