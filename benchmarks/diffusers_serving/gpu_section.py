"""One model on the device: load it, compare, measure, as far as time and memory allow."""

import asyncio
import copy
import itertools
import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Final

import torch

from benchmarks.diffusers_serving.agreement import agreement
from benchmarks.diffusers_serving.gpu_report import GpuReport, Section
from benchmarks.diffusers_serving.handing_out import hand_out
from benchmarks.diffusers_serving.limits import matrix_rate, step_operations
from benchmarks.diffusers_serving.loads import Jobs, closed, measure
from benchmarks.diffusers_serving.models import (
    KINDS,
    TINY_SIDE,
    new_networks,
    new_pipeline,
    write_model,
)
from benchmarks.diffusers_serving.subjects import SUBJECTS, SubjectName, new_model, running
from benchmarks.diffusers_serving.table import ServingRow, SkippedRow, serving_row
from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.options import Options
from queue_agent_diffusers.torch.devices import DTYPES
from queue_agent_diffusers.torch.loader import load_pipeline
from queue_agent_diffusers.torch.memory import is_out_of_memory, release_memory
from queue_agent_diffusers.torch.siblings import library

MAX_BATCH: Final = 16
_TO_LOAD: Final = 0.4
"""Share of a section's time within which its model is to be written and loaded."""
_TO_COMPILE: Final = 60.0
"""Seconds that a section has to have left to compile its network's blocks."""
_TO_HAND_OUT: Final = 20.0
"""Seconds that a section keeps for the end of a server, beside twice what loading took."""
_MOST_TO_HAND_OUT: Final = 0.3
"""Share of a section's time that it keeps for that at most."""
_BYTES_A_SECOND: Final = 1e9
"""That a disk is taken to write and read; what would take too long is not written."""


@dataclass(frozen=True)
class RowGroup:
    """One group of a model's lines."""

    steps: tuple[int, ...]
    name: str = ""
    """Said before the steps."""
    without_guidance: bool = False
    scheduler: str | None = None
    most_clients_only: bool = False
    quality: Quality | None = None
    """Of the engine's jobs, who alone knows such; None: all subjects."""


WORKS: Final = {
    "sd15": (
        RowGroup((20,)),
        RowGroup((4, 20, 30, 50), most_clients_only=True),
        RowGroup(
            (4,),
            "LCM, ",
            without_guidance=True,
            scheduler="LCMScheduler",
            most_clients_only=True,
        ),
    ),
    "sdxl": (RowGroup((20,)),),
    "flux": (
        RowGroup((8,)),
        RowGroup((8,), "balanced, ", quality="balanced"),
        RowGroup((8,), "fast, ", quality="fast"),
    ),
}
_TINY_STEPS: Final = {8: 2, 20: 4, 30: 6, 50: 8}
"""What tiny models do instead."""


@dataclass(frozen=True)
class SectionPlan:
    """What a section is to do."""

    kind: str
    device: str
    tiny: bool
    clients: tuple[int, ...]
    seconds: float
    """Of a measurement, at least."""
    scratch: Path | None = None
    """Where models are written; None: the usual place."""


class Budget:
    """Seconds that a section has."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.kept = 0.0
        """That are not to be planned with yet."""
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self._end - self.kept - time.monotonic()


def run_section(plan: SectionPlan, budget: Budget, report: GpuReport) -> None:
    """Do it; what fails ends this section alone, and stands in the report."""
    kind = KINDS[plan.kind]
    precision = "float32" if plan.tiny else kind.dtype
    pixels = TINY_SIDE if plan.tiny else kind.side
    section = Section(f"{kind.title}{' (tiny)' if plan.tiny else ''}", precision, pixels)
    report.sections.append(section)
    here = _Measuring(plan, section, budget, report)
    with here.going_on("ended early"):
        _run(here)
    release_memory()
    report.write()


def _run(here: "_Measuring") -> None:
    plan, section, budget, report = here.plan, here.section, here.budget, here.report
    if plan.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with TemporaryDirectory(dir=plan.scratch) as folder:
        written = Path(folder, "model")
        _run_in_process(here, written)
        release_memory()
        report.write()
        if section.agreement is not None and section.agreement.equal:
            with here.going_on("from SIGTERM to checkpoints"):
                _end_at_work(plan, section, budget, written)


def _run_in_process(here: "_Measuring", written: Path) -> None:
    plan, section, report = here.plan, here.section, here.report
    pipeline = _load(plan, section, here.budget, written)
    report.write()
    here.budget.kept = _kept_to_hand_out(section, here.budget)
    jobs = Jobs((20,), section.pixels, KINDS[plan.kind].guidance_scale)
    like = next(jobs.requests(0))
    model = new_model(pipeline, MAX_BATCH)
    section.agreement = agreement(pipeline, model, like)
    report.write()
    if not section.agreement.equal:
        section.failures.append("how fast wrong pictures are made was not measured.")
        return
    with here.going_on("the limit"):
        section.matrix_rate = matrix_rate(pipeline.device, DTYPES[section.precision])
        section.step_operations = step_operations(model, like)
    for work in WORKS[plan.kind]:
        with here.going_on(f"{work.name}{_told_steps(work.steps)}"):
            _measure_work(here, pipeline, model, work)
    with here.going_on("compiled"):
        _measure_compiled(here, pipeline, like)
    if plan.device == "cuda":
        section.peak_bytes = torch.cuda.max_memory_allocated()


def _kept_to_hand_out(section: Section, budget: Budget) -> float:
    if section.load_seconds is None:
        return 0.0
    return min(_TO_HAND_OUT + 2 * section.load_seconds, _MOST_TO_HAND_OUT * budget.seconds)


def _end_at_work(plan: SectionPlan, section: Section, budget: Budget, written: Path) -> None:
    """A server that the model is served by, in the middle of its clients' jobs."""
    budget.kept = 0.0
    if not written.exists():
        section.handing_out_note = "a server needs the model's files, which were not written"
        return
    seconds = budget.left
    if seconds <= 0:
        section.handing_out_note = "no time was left"
        return
    options = ["--device", plan.device, "--dtype", section.precision]
    jobs = Jobs((20,), section.pixels, KINDS[plan.kind].guidance_scale)
    at_once = ["--max-batch", str(MAX_BATCH)]
    ending = hand_out(written, [*options, *at_once], jobs, max(plan.clients), seconds)
    try:
        section.handed_out = asyncio.run(ending)
    except TimeoutError:
        section.handing_out_note = f"it took more than the {seconds:.0f} s that were left"


def _load(plan: SectionPlan, section: Section, budget: Budget, folder: Path) -> Any:
    """By way of the disk, as it would be served, or straight onto the device where it must be."""
    dtype = DTYPES[section.precision]
    options = Options(device=plan.device, dtype=section.precision)
    size = _weight_bytes(plan, dtype)
    reason = None if plan.tiny else _why_not_written(size, budget.left * _TO_LOAD)
    if reason is not None:
        section.load_note = f"not measured, {reason}"
        pipeline = new_pipeline(plan.kind, device=plan.device, dtype=dtype)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline
    write_model(plan.kind, folder, tiny=plan.tiny, device=plan.device, dtype=dtype)
    release_memory()
    began = time.monotonic()
    pipeline = load_pipeline(str(folder), options)
    if plan.device == "cuda":
        torch.cuda.synchronize()
    section.load_seconds = time.monotonic() - began
    section.load_note = f", {size / 1e9:.2g} GB from files just written" if size else ""
    return pipeline


def _weight_bytes(plan: SectionPlan, dtype: torch.dtype) -> int:
    if plan.tiny:
        return 0
    networks = new_networks(plan.kind, device="meta", dtype=dtype)
    weights = [weight for network in networks.values() for weight in network.parameters()]
    return sum(weight.numel() * weight.element_size() for weight in weights)


def _why_not_written(size: int, seconds: float) -> str | None:
    free = shutil.disk_usage(gettempdir()).free
    if free < 1.2 * size:
        return f"as {gettempdir()} has {free / 1e9:.0f} GB and the weights take {size / 1e9:.0f}"
    if 2 * size / _BYTES_A_SECOND > seconds:
        return f"as writing and reading {size / 1e9:.0f} GB might take the section's time"
    return None


@dataclass
class _Measuring:
    plan: SectionPlan
    section: Section
    budget: Budget
    report: GpuReport

    def note(self, row: ServingRow | SkippedRow) -> None:
        self.section.rows.append(row)
        self.report.write()

    @contextmanager
    def going_on(self, what: str) -> Iterator[None]:
        """What fails in the block is noted, and ends nothing else."""
        try:
            yield
        except Exception as error:
            self.section.failures.append(f"{what}: {_told(error)}")
            self.section.traces.append(traceback.format_exc())
            release_memory()
            self.report.write()


def _measure_work(here: _Measuring, pipeline: Any, model: Any, work: RowGroup) -> None:
    plan, section = here.plan, here.section
    steps = tuple(_TINY_STEPS.get(one, one) for one in work.steps) if plan.tiny else work.steps
    guidance = 1.0 if work.without_guidance else KINDS[plan.kind].guidance_scale
    jobs = Jobs(steps, section.pixels, guidance, work.quality)
    subjects: Sequence[SubjectName] = SUBJECTS if work.quality is None else ("engine",)
    same_steps = not work.without_guidance and work.quality is None
    limit = _limit(section) if same_steps else None
    step_seconds = 0.0
    clients_in_turn = (max(plan.clients),) if work.most_clients_only else plan.clients
    with _scheduled(pipeline, model, work.scheduler) as (own_pipeline, own_model):
        for clients, subject in itertools.product(clients_in_turn, subjects):
            name = f"{clients} client{'s' if clients > 1 else ''}, {work.name}{_told_steps(steps)}"
            images = {"plain": 2, "static": clients + 1, "engine": clients}[subject]
            needed = max(plan.seconds, images * step_seconds * max(steps))
            if needed > here.budget.left:
                here.note(SkippedRow(subject, name, f"no time for about {needed:.0f} s"))
                continue
            load = partial(closed, jobs=jobs, clients=clients, seconds=plan.seconds, drop=True)
            row: ServingRow | SkippedRow | None = None
            with here.going_on(f"{subject}, {name}"):
                row = _row(subject, name, own_pipeline, own_model, load, limit)
                here.note(row)
            if isinstance(row, ServingRow) and not step_seconds:
                step_seconds = 1 / row.image_steps_per_second


def _measure_compiled(here: _Measuring, pipeline: Any, like: ImageRequest) -> None:
    """The engine once more with compiled blocks, last, since the network stays so."""
    plan, section = here.plan, here.section
    work = WORKS[plan.kind][0]
    steps = tuple(_TINY_STEPS.get(one, one) for one in work.steps) if plan.tiny else work.steps
    clients = max(plan.clients)
    name = f"{clients} client{'s' if clients > 1 else ''}, compiled, {_told_steps(steps)}"
    if not plan.tiny and here.budget.left < _TO_COMPILE + plan.seconds:
        here.note(SkippedRow("engine", name, f"no time for about {_TO_COMPILE:.0f} s"))
        return
    backend = "eager" if plan.tiny else "inductor"  # a CPU's compiler takes longer than all else
    began = time.monotonic()
    model = new_model(pipeline, MAX_BATCH, speed="compile", backend=backend)
    section.compile_seconds = time.monotonic() - began
    section.compiled_agreement = agreement(pipeline, model, like)
    here.report.write()
    if not section.compiled_agreement.equal:
        section.failures.append("compiled: how fast wrong pictures are made was not measured.")
        return
    jobs = Jobs(steps, section.pixels, KINDS[plan.kind].guidance_scale)
    load = partial(closed, jobs=jobs, clients=clients, seconds=plan.seconds, drop=True)
    here.note(_row("engine", name, pipeline, model, load, _limit(section)))


def _row(
    subject: SubjectName, name: str, pipeline: Any, model: Any, load: Any, limit: float | None
) -> ServingRow | SkippedRow:
    try:
        with running(subject, pipeline, model) as at_work:
            seen = measure(at_work, load, 0)
    except ExceptionGroup as failures:
        error = _first(failures)
        if not is_out_of_memory(error):
            raise error from failures
        release_memory()
        return SkippedRow(subject, name, "no memory")
    return serving_row(subject, name, [seen], limit)


@contextmanager
def _scheduled(pipeline: Any, model: Any, scheduler: str | None) -> Iterator[tuple[Any, Any]]:
    """Both with another scheduler, if one is named; weights are shared."""
    if scheduler is None:
        yield pipeline, model
        return
    twin = copy.copy(pipeline)
    twin.scheduler = getattr(library, scheduler).from_config(pipeline.scheduler.config)
    yield twin, new_model(twin, MAX_BATCH)


def _limit(section: Section) -> float | None:
    if section.matrix_rate is None or not section.step_operations:
        return None
    return section.matrix_rate / section.step_operations


def _told_steps(steps: tuple[int, ...]) -> str:
    several = f"{min(steps)} to " if len(steps) > 1 else ""
    return f"{several}{max(steps)} steps"


def _first(failures: BaseExceptionGroup[Any]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _told(error: BaseException) -> str:
    if is_out_of_memory(error):
        return "no memory"
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
