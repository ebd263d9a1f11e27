"""What is measured: the scenarios, each a list of cells, and how many jobs a cell takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.latency import LATENCIES
from benchmarks.stage import (
    AGENT,
    AS_MADE,
    BARE,
    CONVERTING,
    ON_NATS,
    SEQUENTIAL,
    SIGNING,
    SIGNING_CONVERTED,
    Load,
    Subject,
)
from benchmarks.wide import LANES

_JOBS: Final = {0.0: 200, 0.05: 40, 0.2: 40, 1.0: 24}
_QUICK_JOBS: Final = {0.0: 60, 0.05: 40, 0.2: 16, 1.0: 4}
_WARM_UP: Final = 20
"""Jobs until the interpreter and the cloud's SDK have seen all that recurs."""
_BOTH: Final = (AGENT, SEQUENTIAL)
_LARGE_INPUT: Final = 100_000_000
_LARGE_OUTPUT: Final = 64_000_000


@dataclass(frozen=True)
class Cell:
    """One line of a scenario's table: the same load for each subject."""

    scenario: str
    label: str
    load: Load
    subjects: Sequence[Subject] = _BOTH
    warm_up: int = 3
    reference: Subject | None = None
    """In parts of whose figures those of the others are told, too."""

    def load_of(self, subject: Subject) -> Load:
        """The load; fewer jobs for the baseline, which takes them one by one."""
        if subject is not SEQUENTIAL or self.load.utilisation is not None or self.load.workers > 1:
            return self.load
        return self.load.but(jobs=max(3, self.load.jobs // 4))


def _gap(quick: bool) -> list[Cell]:
    """Every GPU time by every latency."""
    jobs, warm_up = (_QUICK_JOBS, 3) if quick else (_JOBS, _WARM_UP)
    return [
        Cell(
            "gap",
            f"{seconds:g} s, {latency}",
            Load(latency, seconds, jobs[seconds]),
            warm_up=warm_up,
        )
        for seconds in jobs
        for latency in LATENCIES
        if not quick or (seconds, latency) not in _LEFT_OUT_WHEN_QUICK
    ]


_LEFT_OUT_WHEN_QUICK: Final = frozenset(
    {(seconds, "0 ms") for seconds in _JOBS} | {(0.0, "realistic + input"), (1.0, "30 ms")}
)


def _bound(quick: bool) -> list[Cell]:
    """Beside the bare pipelined loop, which keeps no promises: what these cost."""
    jobs = {0.0: 100, 0.2: 10} if quick else {0.0: 400, 0.2: 60}
    return [
        Cell(
            "bound",
            f"{seconds:g} s, 30 ms",
            Load("30 ms", seconds, jobs[seconds]),
            (AGENT, BARE),
            warm_up=_WARM_UP,
            reference=BARE,
        )
        for seconds in jobs
    ]


def _clouds(quick: bool) -> list[Cell]:
    """On NATS beside the emulated AWS, neither of which waits before it answers."""
    jobs = {0.0: 60, 0.2: 16} if quick else {0.0: 200, 0.2: 40}
    return [
        Cell(
            "clouds",
            f"{seconds:g} s",
            Load("0 ms", seconds, jobs[seconds]),
            (AGENT, ON_NATS),
            warm_up=3 if quick else _WARM_UP,
            reference=AGENT,
        )
        for seconds in jobs
    ]


def _images(quick: bool) -> list[Cell]:
    """Four images a job."""
    return [
        Cell("images", latency, Load(latency, 0.2, 12 if quick else 40, images=4))
        for latency in LATENCIES
        if not quick or latency == "30 ms"
    ]


def _outputs(quick: bool) -> list[Cell]:
    """What is done with files between run and store, off the GPU's way."""
    jobs = {0.2: 16} if quick else {0.2: 60, 1.0: 24}
    return [
        Cell(
            "outputs",
            f"{seconds:g} s, 30 ms",
            Load("30 ms", seconds, jobs[seconds]),
            (AS_MADE, AGENT, CONVERTING),
            warm_up=3 if quick else _WARM_UP,
            reference=AS_MADE,
        )
        for seconds in jobs
    ]


def _signing(quick: bool) -> list[Cell]:
    """What signing costs, of files as they are made and of converted ones."""
    jobs = 12 if quick else 60
    return [
        Cell(
            "signing",
            "0.2 s, 30 ms",
            Load("30 ms", 0.2, jobs),
            (AGENT, SIGNING, CONVERTING, SIGNING_CONVERTED),
            warm_up=3 if quick else _WARM_UP,
            reference=AGENT,
        )
    ]


def _arrivals(quick: bool) -> list[Cell]:
    """Jobs come at random, at 60 % of what the GPU can do."""
    jobs = 12 if quick else 60
    return [
        Cell("arrivals", latency, Load(latency, 0.2, jobs, utilisation=0.6))
        for latency in LATENCIES
        if not quick or latency == "realistic + input"
    ]


def _batch(quick: bool) -> list[Cell]:
    """A runtime that works on several jobs at a time."""
    load = Load("realistic + input", 1.0, LANES * (3 if quick else 8), lanes=LANES)
    return [Cell("batch", f"{LANES} at a time, 1 s", load, (AGENT,), warm_up=LANES)]


def _fleet(quick: bool) -> list[Cell]:
    """Several agents on one queue, each with a GPU of its own."""
    return [
        Cell(
            "fleet",
            f"{workers} agents, 1 s, realistic",
            Load("realistic + input", 1.0, workers * (3 if quick else 8), workers=workers),
            (AGENT,),
        )
        for workers in ((2,) if quick else (2, 4, 8))
    ]


def _large_input(quick: bool) -> list[Cell]:
    """Memory with an input of 100 MB, beside that without any."""
    settings = {
        "QUEUE_AGENT_REFERENCE_MAX_BYTES": str(2 * _LARGE_INPUT),
        "QUEUE_AGENT_REFERENCE_MAX_PIXELS": str(_LARGE_INPUT),
    }
    jobs = 1 if quick else 3
    loads = {
        "no input": Load("0 ms", 0.2, 20),
        "100 MB input": Load("0 ms", 0.2, jobs, input_bytes=_LARGE_INPUT, settings=settings),
    }
    return [Cell("large-input", label, load, (AGENT,), warm_up=0) for label, load in loads.items()]


def _large_output(quick: bool) -> list[Cell]:
    """Memory with four images of 64 MB in one answer, beside that with small ones."""
    loads = {
        "4 small images": Load("0 ms", 0.2, 20, images=4),
        "4 images of 64 MB": Load(
            "0 ms", 0.2, 1 if quick else 3, images=4, image_bytes=_LARGE_OUTPUT
        ),
    }
    return [Cell("large-output", label, load, (AGENT,), warm_up=0) for label, load in loads.items()]


def _smoke(_quick: bool) -> list[Cell]:
    """Seconds: whether the benchmark itself works."""
    subjects = (AGENT, SEQUENTIAL, ON_NATS)
    return [Cell("smoke", "0.05 s, 0 ms", Load("0 ms", 0.05, 5), subjects, warm_up=1)]


SCENARIOS: Final[dict[str, Callable[[bool], list[Cell]]]] = {
    "gap": _gap,
    "bound": _bound,
    "clouds": _clouds,
    "images": _images,
    "outputs": _outputs,
    "signing": _signing,
    "arrivals": _arrivals,
    "batch": _batch,
    "fleet": _fleet,
    "large-input": _large_input,
    "large-output": _large_output,
    "smoke": _smoke,
}
BY_DEFAULT: Final = tuple(name for name in SCENARIOS if name != "smoke")
