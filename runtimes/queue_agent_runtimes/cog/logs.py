"""How far a prediction has come, by what the model has printed. Pure functions."""

import re
from typing import Final

from queue_agent.runtime import Progress

HIGHEST: Final = 0.99
"""Until the answer is here: a bar that is full may be the first of several."""
_LOOKED_AT: Final = 4000
"""Letters from the end."""
_PERCENT: Final = re.compile(r"(?<![\d.])(\d{1,3})(?:\.\d+)?%")
_STEPS: Final = re.compile(r"\s*\|[^\r\n|]*\|\s*(\d{1,7})/(\d{1,7})(?!\d)")
"""Behind the percentage, as tqdm writes it: ``|####  | 4/10 [00:02<00:03]``."""


def progress_of(logs: str) -> Progress | None:
    """By the last percentage in the logs, and the steps of the bar that it stands at."""
    tail = logs[-_LOOKED_AT:]
    found = [match for match in _PERCENT.finditer(tail) if int(match[1]) <= 100]
    if not found:
        return None
    last = found[-1]
    step = steps = None
    if bar := _STEPS.match(tail, last.end()):
        step, steps = int(bar[1]), int(bar[2])
    return Progress(min(int(last[1]) / 100, HIGHEST), step=step, steps=steps)
