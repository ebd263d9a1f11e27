"""How many pods are wanted: a pure function of the work there is and of what is aimed at."""

import math
from dataclasses import dataclass
from typing import Final

_TAIL: Final = 3.0
"""Where waits fall off exponentially, 95 % are below three times their mean."""
HELD: Final = 2
"""Messages that a pod has at most: of the job that it works on, and of the next."""
_WORTH: Final = 0.5
"""A pod more is worth its start where it then works at least so much of what that took."""
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class QueuedWork:
    """What a queue holds, and what comes to it."""

    waiting: int
    """Messages."""
    in_flight: int
    """Messages that pods have."""
    job_seconds: float
    """What a job keeps a pod busy for, on average."""
    load: float | None
    """Work that comes steadily, in Erlang: pods that it keeps busy. None: not known yet."""


@dataclass(frozen=True, slots=True)
class ScalingAim:
    """What the operator wants, and knows of the pods; durations in seconds."""

    wait: float
    """95 % of the jobs that come steadily are to wait no longer."""
    start: float
    """From the wish for a pod to its first job."""
    most: int
    """Pods."""


def wanted_pods(work: QueuedWork, aim: ScalingAim, asked: int = 0) -> int:
    """The pods that should be there, where so many were `asked` for before.

    The largest of three wishes, in pods:
    - as many as the steady load needs, for its jobs to wait as is wanted;
    - beside the load, as many as clear what waits in the time that makes their start worth it.
      Once asked for, they stay until what there is to do is less than the wanted wait for each;
    - one for each job in flight that is longer than the wanted wait, so that none is cut off.

    Of the latter two never more than there are jobs.
    """
    jobs = work.waiting + work.in_flight
    share = min(1.0, work.job_seconds / aim.wait)
    if work.load is None:
        steady = _up(work.in_flight / HELD)
    else:
        steady = steady_pods(work.load, work.job_seconds, aim)
    clearing = 0.0
    if work.waiting:
        worth = max(aim.wait, _WORTH * aim.start)
        clearing = (work.load or 0.0) + work.waiting * min(1.0, work.job_seconds / worth)
    least = _up(max(clearing, work.in_flight * share))
    kept = min(asked, _up(jobs * share))
    return min(aim.most, max(steady, min(jobs, max(least, kept))))


def steady_pods(load: float, job_seconds: float, aim: ScalingAim) -> int:
    """The fewest pods at which jobs of a load in Erlang wait as is wanted; none without a load.

    By Sakasegawa's approximation (1977) of the mean wait in M/D/c, which is exact at one pod.
    """
    if load <= 0:
        return 0
    pods = math.floor(load) + 1
    while pods < aim.most:
        busy = load / pods
        wait = job_seconds / 2 * busy ** (math.sqrt(2 * (pods + 1)) - 1) / (pods * (1 - busy))
        if wait * _TAIL <= aim.wait:
            break
        pods += 1
    return min(pods, aim.most)


def _up(pods: float) -> int:
    return math.ceil(pods - _ROUNDING)
