"""All of the bundled runtime on one GPU, in at most nine minutes and without a download.

    python -m benchmarks.diffusers_serving.gpu build/bench-gpu

First whether the engine makes what the plain pipeline makes, then how fast: models of the true
sizes with random weights. Without a GPU it says so, and runs tiny models to show that it works.
What does not fit into the memory or the time is skipped, and its line says so. What was seen is
in the folder after each line, as JSON and Markdown.
"""

import argparse
import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
import transformers

from benchmarks.diffusers_serving.gpu_report import GpuReport
from benchmarks.diffusers_serving.gpu_section import Budget, SectionPlan, run_section
from benchmarks.diffusers_serving.models import KINDS

MINUTES: Final = 8.5
"""Of nine: Python and its libraries take theirs before."""
_END: Final = 15.0
"""Seconds of them that no section may plan with."""
_SHARES: Final = {"sd15": 1.3, "sdxl": 1.5, "flux": 2.2}
"""Of the time that is left; who needs less leaves it to those who follow."""


def main(given: Sequence[str] | None = None) -> int:
    """Run the sections; 0 if all that was compared is equal and nothing failed."""
    began = time.monotonic()
    arguments = _parser().parse_args(given)
    cuda = torch.cuda.is_available() and not arguments.tiny
    if not cuda:
        torch.set_num_threads(arguments.threads)
    bars: Any = transformers.utils.logging
    bars.disable_progress_bar()
    report = GpuReport(arguments.folder, _machine(cuda=cuda), tiny=not cuda)
    if not cuda:
        sys.stdout.write("No GPU is used: tiny models on the CPU, which show that it works.\n")
    seconds = 60 * arguments.minutes
    names = list(dict.fromkeys(arguments.models))
    with TemporaryDirectory() as scratch, _cut_off(report, seconds, scratch):
        for place, name in enumerate(names):
            left = seconds - _END - (time.monotonic() - began)
            share = _SHARES[name] / sum(_SHARES[other] for other in names[place:])
            plan = SectionPlan(
                name,
                device="cuda" if cuda else "cpu",
                tiny=not cuda,
                clients=tuple(arguments.clients),
                seconds=arguments.seconds,
                scratch=Path(scratch),
            )
            run_section(plan, Budget(left * share), report)
    report.finish()
    sys.stdout.write(report.markdown())
    return 0 if report.sound else 1


@contextmanager
def _cut_off(report: GpuReport, seconds: float, scratch: str) -> Iterator[None]:
    """End the process when its time is over before the block's end, whatever it waits for.

    Nothing is left of `scratch`.
    """

    def cut() -> None:
        report.finish("Cut off: its time was over.")
        sys.stdout.write(report.markdown())
        sys.stdout.flush()
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _machine(*, cuda: bool) -> str:
    if not cuda:
        return f"CPU {platform.machine()}, {torch.get_num_threads()} thread(s)"
    memory = torch.cuda.get_device_properties(0).total_memory / 1024**3
    return f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.diffusers_serving.gpu",
        description="Measure the bundled runtime on a GPU, with random weights of true sizes.",
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/bench-gpu"))
    parser.add_argument("--models", nargs="+", choices=sorted(KINDS), default=list(KINDS))
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all of it, at most")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a measurement, at least")
    parser.add_argument("--tiny", action="store_true", help="tiny models on the CPU")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    return parser


if __name__ == "__main__":
    sys.exit(main())
