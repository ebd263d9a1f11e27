"""Measure the agent beside a plain sequential worker, on fake GPUs and an emulated cloud.

    python -m benchmarks                                   everything (make bench)
    python -m benchmarks --quick                           every scenario, fewer and shorter cells
    python -m benchmarks --quick --only gap                one scenario; may be repeated
    python -m benchmarks --only gap --gpu 0.2 --cloud "30 ms" --agent-only --repeat 3

    python -m benchmarks --only bound --repeat 7           ratios to a bare pipelined loop
    python -m benchmarks --only bound --against ../before  and an earlier checkout's agent

    python -m benchmarks --only clouds --repeat 3          on NATS and on the emulated AWS

    python -m benchmarks --only outputs                    files as made, marked, converted
    python -m benchmarks --only signing                    files signed beside unsigned ones

Scenarios: gap, bound, clouds, images, outputs, signing, arrivals, batch, fleet, large-input,
large-output, startup (and smoke: does it work?). `--gpu` and `--cloud` (a latency) choose cells of
`gap`, `bound` and `clouds`. The agent reads QUEUE_AGENT_… of the environment beside what the
benchmark sets, so that settings can be compared. The servers' and subjects' logs are kept with
`--logs FOLDER`.

Subjects take turns (agent, sequential, agent, …) and the median of the repeats is shown. A
subject is a fresh process: it works off a warm-up, then the measured jobs. Tables are
printed; a run that leaves nothing out (or has `--write`) puts the JSON and a chart into
`benchmarks/results/`.
"""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.chart import draw
from benchmarks.measurement import Measurement
from benchmarks.report import Row, machine, ratios_table, startup_table, table, write_json
from benchmarks.scenarios import BY_DEFAULT, SCENARIOS, Cell
from benchmarks.stage import AGENT, BenchServers, stage
from benchmarks.startup import Startup, measure_startup

_RESULTS = Path(__file__).parent / "results"
_STARTUP = "startup"
_BY_GPU_AND_CLOUD = ("gap", "bound", "clouds")
_WIDTH = 170
"""Columns of the tables where the output is no terminal."""


def main(
    quick: Annotated[bool, typer.Option(help="About a minute in all.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Scenario; may be repeated.")] = None,
    gpu: Annotated[list[float] | None, typer.Option(help="Seconds a job.")] = None,
    cloud: Annotated[list[str] | None, typer.Option(help="Latency profile.")] = None,
    repeat: Annotated[int | None, typer.Option(min=1, help="Else 3, or 1 if quick.")] = None,
    agent_only: Annotated[bool, typer.Option(help="Leave the others out.")] = False,
    against: Annotated[
        Path | None, typer.Option(help="Another checkout, whose agent takes turns too.")
    ] = None,
    logs: Annotated[Path | None, typer.Option(help="Keep the logs there.")] = None,
    write: Annotated[
        bool | None, typer.Option(help="Write JSON and chart; else only if nothing is left out.")
    ] = None,
) -> None:
    """Measure the agent beside a plain sequential worker."""
    chosen = only or [*BY_DEFAULT, _STARTUP]
    unknown = set(chosen) - {*SCENARIOS, _STARTUP}
    if unknown:
        raise typer.BadParameter(f"no scenario {', '.join(sorted(unknown))}", param_hint="--only")
    cells = [cell for name in chosen if name in SCENARIOS for cell in SCENARIOS[name](quick)]
    cells = [
        _with_subjects(cell, agent_only, against) for cell in cells if _wanted(cell, gpu, cloud)
    ]
    repeat = repeat or (1 if quick else 3)
    about = machine()
    with ExitStack() as stack:
        folder = logs or Path(stack.enter_context(TemporaryDirectory(prefix="benchmark-")))
        folder.mkdir(parents=True, exist_ok=True)
        rows, startup = asyncio.run(
            _measure(cells, repeat, folder, with_startup=_STARTUP in chosen)
        )
    if write if write is not None else not (only or gpu or cloud or agent_only or against):
        name = "quick" if quick else "benchmark"
        write_json(_RESULTS / f"{name}.json", rows, startup, {**about, "repeats": repeat})
        if any(row.cell.scenario == "gap" for row in rows):
            draw(rows, _RESULTS / name)


def _wanted(cell: Cell, gpu: Sequence[float] | None, cloud: Sequence[str] | None) -> bool:
    if cell.scenario not in _BY_GPU_AND_CLOUD:
        return True
    load = cell.load
    return (not gpu or load.gpu_seconds in gpu) and (not cloud or load.latency in cloud)


def _with_subjects(cell: Cell, agent_only: bool, against: Path | None) -> Cell:
    others = () if agent_only else [subject for subject in cell.subjects if subject is not AGENT]
    another = (
        () if against is None else [replace(AGENT, name="other agent", checkout=against.resolve())]
    )
    return replace(cell, subjects=(AGENT, *another, *others))


async def _measure(
    cells: Iterable[Cell], repeat: int, folder: Path, *, with_startup: bool
) -> tuple[list[Row], Startup | None]:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    rows: list[Row] = []
    async with stage(folder) as servers:
        for scenario, group in itertools.groupby(cells, key=lambda cell: cell.scenario):
            found = []
            for cell in group:
                with console.status(f"{scenario}: {cell.label}"):
                    found.append(await _measure_cell(servers, cell, repeat))
            console.print(table(scenario, found))
            if ratios := ratios_table(found):
                console.print(ratios)
            rows += found
        startup = None
        if with_startup:
            with console.status(_STARTUP):
                startup = await measure_startup(servers, repeat)
            console.print(startup_table(startup))
    return rows, startup


async def _measure_cell(servers: BenchServers, cell: Cell, repeat: int) -> Row:
    measured: dict[str, list[Measurement]] = {subject.name: [] for subject in cell.subjects}
    for _ in range(repeat):
        for subject in cell.subjects:
            seen = await servers.observe(subject, cell.load_of(subject), warm_up=cell.warm_up)
            measured[subject.name].append(Measurement.of(seen))
    return Row(cell, measured)


if __name__ == "__main__":
    typer.run(main)
