"""The program of `queue_agent.media.confined`, started by its path.

It confines itself before it imports anything that is not Python's own, and then does what comes in
as pickles, one after another, until there is no more.
"""

import base64
import dataclasses
import io
import json
import math
import os
import pickle
import resource
import sys
from typing import Any, Final

_NICENESS: Final = 10


def main() -> None:
    """Work until the input ends."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123  what others print is no answer
        os.dup2(nothing.fileno(), 0)
        os.dup2(nothing.fileno(), 1)
    path, memory, seconds, room, network = pickle.load(requests)  # noqa: S301  from the agent
    for limit, most in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_FSIZE, room),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    sys.path[:] = path
    if not network:
        from queue_agent.media.seclusion import seclude  # noqa: PLC0415

        seclude()
    while requests.peek(1):
        _limit_cpu(seconds)
        answers.write(_done(requests) + b"\n")
        answers.flush()


def _limit_cpu(seconds: float) -> None:
    """For one work; the agent, which counts all seconds, may be gone by then."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def _done(requests: io.BufferedReader) -> bytes:
    try:
        work, args = pickle.load(requests)  # noqa: S301
        return json.dumps([work(*args)], default=_plain).encode()
    except Exception as error:  # whatever it is, the agent is told, and decides
        failure: dict[str, Any] = {
            "kinds": [kind.__name__ for kind in type(error).__mro__],
            "words": str(error)[:1000],
        }
        if isinstance(error, OSError) and error.errno is not None:
            failure |= {"number": error.errno, "words": error.strerror or ""}
        return json.dumps(failure).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.urlsafe_b64encode(value).decode()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"no answer: {type(value).__name__}")


if __name__ == "__main__":
    main()
