"""How much memory a container has, by what the kernel tells it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from queue_agent_diffusers.torch.host_memory import HostMemory

GIB = 2**30
MACHINE = f"MemTotal:  {64 * 2**20} kB\nMemFree: 5 kB\nMemAvailable:  {32 * 2**20} kB\n"
STAT = (
    f"anon 1\nactive_file {GIB}\ninactive_file {GIB}\n"
    f"total_active_file {GIB}\ntotal_inactive_file {GIB}\nodd\n"
)
NO_LIMIT = "9223372036854771712"


@pytest.mark.parametrize(
    ("groups", "files", "limit", "free"),
    [
        ("0::/\n", {}, 64, 32),
        ("0::/\n", {"memory.max": "max\n", "memory.current": "5\n"}, 64, 32),
        (
            "0::/\n",
            {"memory.max": f"{8 * GIB}\n", "memory.current": f"{4 * GIB}", "memory.stat": STAT},
            8,
            6,
        ),
        (
            "0::/pods/pod/box\n",
            {
                "pods/pod/box/memory.max": "max",
                "pods/pod/memory.max": f"{4 * GIB}",
                "pods/pod/memory.current": f"{5 * GIB}",
                "pods/memory.max": f"{6 * GIB}",
            },
            4,
            0,
        ),
        ("0::/../../elsewhere\n", {"memory.max": f"{2 * GIB}", "memory.current": "0"}, 2, 2),
        (
            "5:cpu,cpuacct:/pod\n3:memory:/kubepods/pod\n0::/\n",
            {
                "memory/memory.limit_in_bytes": f"{10 * GIB}",
                "memory/memory.usage_in_bytes": f"{9 * GIB}",
                "memory/memory.stat": STAT,
            },
            10,
            3,
        ),
        ("3:memory:/\n", {"memory/memory.limit_in_bytes": NO_LIMIT}, 64, 32),
        ("0::/\n", {"memory.max": "a lot", "memory.current": "\udcff"}, 64, 32),
        ("", {}, 64, 32),
    ],
)
def test_a_containers_limit_is_its_memory(
    tmp_path: Path, groups: str, files: Mapping[str, str], limit: int, free: int
) -> None:
    for name, text in ({"meminfo": MACHINE, "self/cgroup": groups}).items():
        write(tmp_path / "proc" / name, text)
    for name, text in files.items():
        write(tmp_path / "sys/fs/cgroup" / name, text)
    assert HostMemory.read(tmp_path) == HostMemory(limit * GIB, free * GIB)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode(errors="surrogateescape"))


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    assert HostMemory.read(tmp_path) == HostMemory(None, None)
    here = HostMemory.read()
    assert here.limit is None or here.limit > 2**20
