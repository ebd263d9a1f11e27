"""The benchmark on NATS beside the emulated AWS: the same work on both, and what is told of it."""

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.clouds import jetstream
from benchmarks.measurement import Measurement
from benchmarks.report import Row, ratios_table
from benchmarks.scenarios import BY_DEFAULT, SCENARIOS
from benchmarks.stage import AGENT, ON_NATS, Load, Observation, Usage

NONE = Measurement(**{field.name: math.nan for field in fields(Measurement)})


@pytest.mark.parametrize("quick", [True, False])
def test_the_same_agent_does_the_same_work_on_either_cloud(quick: bool) -> None:
    assert "clouds" in BY_DEFAULT
    cells = SCENARIOS["clouds"](quick)
    assert [cell.load.gpu_seconds for cell in cells] == [0.0, 0.2]
    for cell in cells:
        assert [subject.on_nats for subject in cell.subjects] == [False, True]
        assert len({tuple(subject.command) for subject in cell.subjects}) == 1
        assert len({cell.load_of(subject).jobs for subject in cell.subjects}) == 1
        assert cell.load.latency == "0 ms"


def test_ratios_are_the_medians_over_the_rounds_to_the_cells_reference() -> None:
    (cell, _) = SCENARIOS["clouds"](True)
    here = [replace(NONE, cpu_ms_per_job=cpu, jobs_per_second=100.0) for cpu in (10.0, 20.0, 40.0)]
    there = [replace(NONE, cpu_ms_per_job=cpu, jobs_per_second=50.0) for cpu in (15.0, 80.0, 44.0)]
    table = ratios_table([Row(cell, {AGENT.name: here, ON_NATS.name: there})])
    console = Console(width=100)
    with console.capture() as shown:
        console.print(table)
    (line,) = [line for line in shown.get().splitlines() if ON_NATS.name in line]
    assert [part.strip() for part in line.strip("│").split("│")][2:] == ["1.50", "0.50"]
    assert AGENT.name in shown.get()


def test_a_subject_alone_has_no_ratios() -> None:
    (cell, _) = SCENARIOS["clouds"](True)
    assert ratios_table([Row(cell, {ON_NATS.name: [NONE]})]) is None
    assert ratios_table([Row(replace(cell, reference=None), {AGENT.name: [NONE]})]) is None


def test_what_a_cloud_does_not_show_is_no_figure() -> None:
    record = {
        "calls": {},
        "received": [],
        "notified": [("a", "completed", 2.0), ("b", "completed", 2.5)],
        "depths": {"jobs": []},
    }
    runs = [{"job": "a", "lane": 0, "start": 1.0, "end": 1.5}]
    seen = Observation(
        Load("0 ms", 0.5, 2), [runs], record, {"a": 0.5, "b": 0.5}, Usage(1, 1, 1, 1), math.nan
    )
    measured = Measurement.of(seen)
    assert measured.jobs_per_second == 2.0
    assert math.isnan(measured.calls_per_job)
    assert math.isnan(measured.puts_per_job)
    assert math.isnan(measured.hold_p50_ms)


async def test_nats_is_not_measured_at_a_latency_that_it_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="30 ms"):
        await jetstream(tmp_path, "30 ms").__aenter__()
