"""Measure one model under closed and open loads; print the table, write the JSON."""

import argparse
import json
import platform
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch

from benchmarks.diffusers_serving.limits import matrix_rate, step_operations
from benchmarks.diffusers_serving.loads import Jobs, Load, LoadOutcome, arriving, closed, measure
from benchmarks.diffusers_serving.models import KINDS, TINY_SIDE, write_model
from benchmarks.diffusers_serving.subjects import SUBJECTS, SubjectName, new_model, running
from benchmarks.diffusers_serving.table import markdown, serving_row
from queue_agent_diffusers.options import Options
from queue_agent_diffusers.torch.loader import load_pipeline
from queue_agent_diffusers.torch.siblings import library

CLIENTS: Final = (1, 2, 4, 8, 16)
OPEN_LOAD: Final = 0.7
"""Arrivals of the open loop, as a share of what `static` does for the most clients."""
MIXES: Final = {"mixed": (4, 20, 30, 50), "lcm": (4,)}
UNETS: Final = ("sd15", "sdxl")


def new_pipeline(arguments: argparse.Namespace) -> Any:
    """The tiny pipeline, or one with random weights of the true size."""
    with TemporaryDirectory() as folder:
        tiny = arguments.gpu_size is None
        write_model(arguments.gpu_size or "sd15", Path(folder), tiny=tiny)
        pipeline: Any = load_pipeline(
            folder, Options(device=arguments.device, dtype=arguments.dtype)
        )
    name = "LCMScheduler" if arguments.mix == "lcm" else "EulerDiscreteScheduler"
    pipeline.scheduler = getattr(library, name).from_config(pipeline.scheduler.config)
    return pipeline


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Measure everything; the report as JSON."""
    torch.set_num_threads(arguments.threads)
    pipeline = new_pipeline(arguments)
    jobs = Jobs(MIXES[arguments.mix], arguments.size, 1.0 if arguments.mix == "lcm" else 7.5)
    limit = _limit(pipeline, jobs)
    model = new_model(pipeline, arguments.max_batch, speed=arguments.speed)
    outcomes: dict[tuple[str, SubjectName], list[LoadOutcome]] = {}

    def put(subject: SubjectName, load: Load, number: int) -> LoadOutcome:
        with running(subject, pipeline, model) as at_work:
            return measure(at_work, load, number)

    def put_all(name: str, load: Load) -> None:
        for number in range(arguments.rounds):
            for subject in SUBJECTS:
                outcomes.setdefault((name, subject), []).append(put(subject, load, number))

    for subject in SUBJECTS:
        put(subject, partial(closed, jobs=jobs, clients=4, seconds=0.5), 0)
    seconds = arguments.seconds
    for clients in arguments.clients:
        load = partial(closed, jobs=jobs, clients=clients, seconds=seconds)
        put_all(f"closed, {clients}", load)
    full = outcomes[f"closed, {max(arguments.clients)}", "static"]
    rate = OPEN_LOAD * median(len(one.latencies) / one.seconds for one in full)
    put_all(f"open, {rate:.2f}/s", partial(arriving, jobs=jobs, rate=rate, seconds=seconds))
    rows = [serving_row(subject, load, seen, limit) for (load, subject), seen in outcomes.items()]
    return {
        "machine": _machine(pipeline),
        "settings": {name: str(value) for name, value in vars(arguments).items()},
        "rows": [asdict(row) for row in rows],
    }


def _limit(pipeline: Any, jobs: Jobs) -> float | None:
    """Image steps per second that the device's matrix rate would allow."""
    if pipeline.device.type != "cuda":
        return None
    operations = step_operations(new_model(pipeline, 1), next(jobs.requests(0)))
    return matrix_rate(pipeline.device, pipeline.unet.dtype) / operations


def _machine(pipeline: Any) -> str:
    if pipeline.device.type == "cuda":
        return torch.cuda.get_device_name(pipeline.device)
    return f"CPU {platform.machine()}, {torch.get_num_threads()} thread(s)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diffusers_serving")
    parser.add_argument("--gpu-size", choices=UNETS)
    parser.add_argument("--mix", choices=sorted(MIXES), default="mixed")
    parser.add_argument("--size", type=int, help="pixels a side (default: the model's, tiny: 64)")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--speed", choices=("eager", "compile", "graphs"), default="eager")
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/diffusers.json"))
    return parser


def main() -> None:
    """Measure, print the table, write the JSON."""
    arguments = _parser().parse_args()
    if arguments.size is None:
        arguments.size = KINDS[arguments.gpu_size].side if arguments.gpu_size else TINY_SIDE
    report = run(arguments)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    rows: Any = report["rows"]
    sys.stdout.write(f"{report['machine']}\n\n{markdown(rows)}\n")


if __name__ == "__main__":
    main()
