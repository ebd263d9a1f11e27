"""How much of the host's memory this process may have, by its control group, too.

A container sees the whole machine's memory and is killed for more than its limit:
https://docs.kernel.org/admin-guide/cgroup-v2.html#memory and
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MEMORY_LINE: Final = re.compile(r"(\w+):\s+(\d+) kB")


@dataclass(frozen=True)
class _Files:
    """Names of what a group tells, by the version."""

    limit: str
    used: str
    reclaimable: frozenset[str]
    """In `memory.stat`: what the kernel takes back before it kills."""


_V1: Final = _Files(
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    frozenset({"total_inactive_file", "total_active_file"}),
)
_V2: Final = _Files("memory.max", "memory.current", frozenset({"inactive_file", "active_file"}))


@dataclass(frozen=True)
class HostMemory:
    """In bytes; None where the machine does not tell."""

    limit: int | None
    """The most that this process and those of its group may have."""
    free: int | None
    """What of it nobody has, or the kernel takes back; what it may swap is not in it."""

    @classmethod
    def read(cls, root: Path = Path("/")) -> "HostMemory":
        """As it is now; `root` is where ``proc`` and ``sys`` lie."""
        told = dict(_MEMORY_LINE.findall(_text(root / "proc/meminfo")))
        limits = [int(told["MemTotal"]) * 1024] if "MemTotal" in told else []
        free = [int(told["MemAvailable"]) * 1024] if "MemAvailable" in told else []
        for folder, files in _groups(root):
            limit = _number(folder / files.limit)
            if limit is None:
                continue
            limits.append(limit)
            used = _number(folder / files.used)
            if used is not None:
                free.append(max(0, limit - used + _reclaimable(folder, files)))
        return cls(min(limits, default=None), min(free, default=None))


def _groups(root: Path) -> Iterator[tuple[Path, _Files]]:
    """Those that the process is in, up to the top that it sees."""
    mounted = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if "memory" in kinds.split(","):
            top, files = mounted / "memory", _V1
        elif (number, kinds) == ("0", ""):
            top, files = mounted, _V2
        else:
            continue
        # Where the path is the host's, as in a container of old, its group is mounted as the top.
        steps = [step for step in path.split("/") if step not in {"", ".."}]
        for depth in range(len(steps), -1, -1):
            yield top.joinpath(*steps[:depth]), files


def _reclaimable(folder: Path, files: _Files) -> int:
    lines = map(str.split, _text(folder / "memory.stat").splitlines())
    return sum(int(line[1]) for line in lines if len(line) == 2 and line[0] in files.reclaimable)


def _number(file: Path) -> int | None:
    """None where there is none, or no limit (``max``)."""
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""
