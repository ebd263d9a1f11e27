"""The bundled diffusers runtime against the plain pipeline and a static batcher.

    python -m benchmarks.diffusers_serving                       the tiny model, on this machine
    python -m benchmarks.diffusers_serving --gpu-size sd15       random weights of the true size
    python -m benchmarks.diffusers_serving --gpu-size sdxl --mix lcm

Three subjects do the same jobs in one process, one after another and in turns over several
rounds: `plain` calls the pipeline for one job at a time, `static` calls it for all waiting jobs
of equal step counts together, `engine` is the bundled runtime's own. No HTTP is in between.
Random weights cost the same time as trained ones.
"""

import argparse
import asyncio
import json
import platform
import random
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from benchmarks.figures import quantile
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.model import Observer
from queue_agent_diffusers.engine.pool import ModelPool, Served
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.options import Options
from queue_agent_diffusers.torch.loader import load_pipeline
from queue_agent_diffusers.torch.pipeline_arguments import library
from queue_agent_diffusers.torch.speed import network_for, tune
from queue_agent_diffusers.torch.tiny import build_tiny_model, new_tokenizer
from queue_agent_diffusers.torch.unet import UNetModel

CLIENTS: Final = (1, 2, 4, 8, 16)
OPEN_LOAD: Final = 0.7
"""Arrivals of the open loop, as a share of what `static` does for the most clients."""
MIXES: Final[Mapping[str, tuple[int, ...]]] = {"mixed": (4, 20, 30, 50), "lcm": (4,)}
TFLOP_AT_20_STEPS: Final = {"sd15": 34.7, "sdxl": 281.0}
"""Of one guided image of the natural size."""

_COLUMNS: Final = {
    "images_per_second": 2,
    "image_steps_per_second": 0,
    "p50": 2,
    "p95": 2,
    "short_p95": 2,
    "busy_percent": 0,
    "share_of_limit_percent": 0,
}
"""Of the table, with their digits after the point."""

Submit = Callable[[ImageRequest], "Future[Any]"]
Latencies = list[tuple[int, float]]
"""Steps of each job, and the seconds from its submission to its picture."""
Load = Callable[[Submit, int], Coroutine[None, None, Latencies]]
"""Puts a subject under load; the number chooses the jobs."""


@dataclass
class LoadOutcome:
    """What a subject did under a load."""

    latencies: Latencies = field(default_factory=list)
    seconds: float = 0.0
    busy: float = 0.0
    """Seconds in which the subject worked."""


@dataclass(frozen=True)
class ServingRow:
    """One line of the report; latencies in seconds."""

    subject: str
    load: str
    jobs: int
    images_per_second: float
    image_steps_per_second: float
    """Comparable even where chance gave the subjects jobs of different lengths."""
    p50: float
    p95: float
    short_p95: float | None
    busy_percent: float
    share_of_limit_percent: float | None = None


class BatchingSubject:
    """Does jobs one batch after another in its own thread; counts the seconds it works."""

    def __init__(self, pipeline: Any, max_batch: int) -> None:
        self._pipeline = pipeline
        self._max_batch = max_batch
        self._inbox: SimpleQueue[tuple[ImageRequest, Future[Any]] | None] = SimpleQueue()
        self.busy = 0.0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, request: ImageRequest) -> "Future[Any]":
        done: Future[Any] = Future()
        self._inbox.put((request, done))
        return done

    def close(self) -> None:
        self._inbox.put(None)
        self._thread.join()

    def _work(self) -> None:
        waiting: list[tuple[ImageRequest, Future[Any]]] = []
        while True:
            try:
                entry = self._inbox.get(block=not waiting)
                if entry is None:
                    return
                waiting.append(entry)
            except Empty:
                steps = waiting[0][0].steps
                batch = [one for one in waiting if one[0].steps == steps][: self._max_batch]
                waiting = [one for one in waiting if one not in batch]
                self._do(batch)

    def _do(self, batch: Sequence[tuple[ImageRequest, "Future[Any]"]]) -> None:
        began = time.monotonic()
        first = batch[0][0]
        seeds = [torch.Generator("cpu").manual_seed(request.seed) for request, _ in batch]
        images = self._pipeline(
            prompt=[request.prompt for request, _ in batch],
            generator=seeds,
            num_inference_steps=first.steps,
            guidance_scale=first.guidance_scale,
            width=first.width,
            height=first.height,
        ).images
        self.busy += time.monotonic() - began
        for (_, done), image in zip(batch, images, strict=True):
            done.set_result(image)


class Stopwatch(Observer):
    """Counts the seconds that the engine steps."""

    def __init__(self) -> None:
        self.busy = 0.0

    def stepped(self, images: int, rows: int, seconds: float) -> None:
        """See `Observer`."""
        del images, rows
        self.busy += seconds


class Bench:
    """The subjects around one pipeline, and the loads they are put under."""

    def __init__(self, pipeline: Any, arguments: argparse.Namespace) -> None:
        self._pipeline = pipeline
        self._arguments = arguments
        self._numbers = iter(range(sys.maxsize))
        network, buckets = network_for(pipeline, arguments.speed)
        self._model = UNetModel(
            pipeline, max_batch=arguments.max_batch, network=network, buckets=buckets
        )
        if buckets:
            self._model.warm_up()

    def measure(self, subject: str, load: Load, number: int) -> LoadOutcome:
        """Put one subject under a load."""
        with self._running(subject) as (submit, busy):
            before, began = busy(), time.monotonic()
            latencies = asyncio.run(load(submit, number))
            return LoadOutcome(latencies, time.monotonic() - began, busy() - before)

    async def closed(
        self, submit: Submit, number: int, *, clients: int, seconds: float | None = None
    ) -> Latencies:
        """So many clients, each with one job at a time, until the time is over."""
        end = time.monotonic() + (seconds or self._arguments.seconds)
        requests = self._requests(seed=number)
        done: Latencies = []

        async def client() -> None:
            while time.monotonic() < end:
                done.append(await _timed(submit, next(requests)))

        await asyncio.gather(*(client() for _ in range(clients)))
        return done

    async def open(self, submit: Submit, number: int, *, rate: float) -> Latencies:
        """Jobs that come at random moments, so many per second, whoever waits."""
        chance = random.Random(number)  # noqa: S311  no secret
        requests = self._requests(seed=number)
        end = time.monotonic() + self._arguments.seconds
        tasks: list[asyncio.Task[tuple[int, float]]] = []
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < end:
                tasks.append(group.create_task(_timed(submit, next(requests))))
                await asyncio.sleep(chance.expovariate(rate))
        return [task.result() for task in tasks]

    def _requests(self, seed: int) -> Iterator[ImageRequest]:
        chance = random.Random(seed)  # noqa: S311  no secret
        without_guidance = self._arguments.mix == "lcm"
        while True:
            yield ImageRequest(
                f"a lighthouse, number {chance.randint(1, 20)}",
                seed=chance.randrange(2**32),
                width=self._arguments.size,
                height=self._arguments.size,
                steps=chance.choice(MIXES[self._arguments.mix]),
                guidance_scale=1.0 if without_guidance else 7.5,
            )

    @contextmanager
    def _running(self, name: str) -> Iterator[tuple[Submit, Callable[[], float]]]:
        if name != "engine":
            limit = 1 if name == "plain" else self._arguments.max_batch
            subject = BatchingSubject(self._pipeline, limit)
            try:
                yield subject.submit, lambda: subject.busy
            finally:
                subject.close()
            return
        watch = Stopwatch()
        pool = ModelPool({"model": Served(lambda: self._model)})
        engine = Engine(pool, max_waiting=100_000, observer=watch)
        engine.start()
        while not engine.ready:
            time.sleep(0.001)
        try:
            yield (
                lambda request: engine.submit(str(next(self._numbers)), request).result,
                lambda: watch.busy,
            )
        finally:
            engine.close()


async def _timed(submit: Submit, request: ImageRequest) -> tuple[int, float]:
    began = time.monotonic()
    await asyncio.wrap_future(submit(request))
    return request.steps or 0, time.monotonic() - began


def new_pipeline(arguments: argparse.Namespace) -> Any:
    """The tiny pipeline, or one with random weights of the true size."""
    with TemporaryDirectory() as folder:
        options = Options(device=arguments.device, dtype=arguments.dtype)
        if arguments.gpu_size is None:
            build_tiny_model(Path(folder))
        else:
            full_size(arguments.gpu_size).save_pretrained(folder)
        pipeline: Any = load_pipeline(folder, options)
    name = "LCMScheduler" if arguments.mix == "lcm" else "EulerDiscreteScheduler"
    pipeline.scheduler = getattr(library, name).from_config(pipeline.scheduler.config)
    tune(pipeline, fuse=True)
    return pipeline


def full_size(kind: str) -> Any:
    """Stable Diffusion 1.5 or XL with the layers of the true one, and random weights.

    The shapes are those of the published configurations.
    """
    tokenizer = new_tokenizer()
    vae = library.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512 if kind == "sd15" else 1024,
        scaling_factor=0.18215 if kind == "sd15" else 0.13025,
    )
    scheduler = library.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    text = CLIPTextModel(_text_config(tokenizer, 768, layers=12, heads=12))
    if kind == "sd15":
        return library.StableDiffusionPipeline(
            text_encoder=text,
            tokenizer=tokenizer,
            unet=library.UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
            vae=vae,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    return library.StableDiffusionXLPipeline(
        text_encoder=text,
        text_encoder_2=CLIPTextModelWithProjection(
            _text_config(tokenizer, 1280, layers=32, heads=20)
        ),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=library.UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        vae=vae,
        scheduler=scheduler,
        add_watermarker=False,
    )


def _text_config(tokenizer: Any, width: int, *, layers: int, heads: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def matrix_rate(dtype: torch.dtype) -> float:
    """TFLOP/s that the CUDA device reaches when it multiplies large matrices."""
    side, times = 8192, 50
    one, other = (torch.randn(side, side, device="cuda", dtype=dtype) for _ in range(2))
    for _ in range(5):
        one @ other
    torch.cuda.synchronize()
    began = time.monotonic()
    for _ in range(times):
        one @ other
    torch.cuda.synchronize()
    return 2 * side**3 * times / (time.monotonic() - began) / 1e12


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Measure everything; the report as JSON."""
    torch.set_num_threads(arguments.threads)
    pipeline = new_pipeline(arguments)
    bench = Bench(pipeline, arguments)
    limit = _limit(pipeline, arguments)
    subjects = ("plain", "static", "engine")
    _warm_up(bench, subjects)
    outcomes: dict[tuple[str, str], list[LoadOutcome]] = {}

    def measure(load: str, work: Load) -> None:
        for number in range(arguments.rounds):
            for subject in subjects:
                seen = bench.measure(subject, work, number)
                outcomes.setdefault((load, subject), []).append(seen)

    for clients in arguments.clients:
        measure(f"closed, {clients}", partial(bench.closed, clients=clients))
    full = outcomes[f"closed, {max(arguments.clients)}", "static"]
    rate = OPEN_LOAD * median(len(one.latencies) / one.seconds for one in full)
    measure(f"open, {rate:.2f}/s", partial(bench.open, rate=rate))
    rows = [_row(subject, load, seen, limit) for (load, subject), seen in outcomes.items()]
    return {
        "machine": _machine(pipeline),
        "settings": {name: str(value) for name, value in vars(arguments).items()},
        "rows": [asdict(row) for row in rows],
    }


def _warm_up(bench: Bench, subjects: Sequence[str]) -> None:
    for subject in subjects:
        bench.measure(subject, partial(bench.closed, clients=4, seconds=0.5), 0)


def _limit(pipeline: Any, arguments: argparse.Namespace) -> float | None:
    """Steps of guided images per second that the device's matrix rate would allow."""
    if arguments.gpu_size is None or pipeline.device.type != "cuda":
        return None
    return matrix_rate(pipeline.unet.dtype) / (TFLOP_AT_20_STEPS[arguments.gpu_size] / 20)


def _row(subject: str, load: str, seen: Sequence[LoadOutcome], limit: float | None) -> ServingRow:
    latencies = [latency for outcome in seen for _, latency in outcome.latencies]
    short = [latency for outcome in seen for steps, latency in outcome.latencies if steps == 4]
    done = median(len(outcome.latencies) / outcome.seconds for outcome in seen)
    worked = median(
        sum(steps for steps, _ in outcome.latencies) / outcome.seconds for outcome in seen
    )
    share = None if limit is None else 100 * worked / limit
    return ServingRow(
        subject=subject,
        load=load,
        jobs=len(latencies),
        images_per_second=done,
        image_steps_per_second=worked,
        p50=quantile(latencies, 0.5),
        p95=quantile(latencies, 0.95),
        short_p95=quantile(short, 0.95) if short else None,
        busy_percent=100 * median(outcome.busy / outcome.seconds for outcome in seen),
        share_of_limit_percent=share,
    )


def _machine(pipeline: Any) -> str:
    if pipeline.device.type == "cuda":
        return torch.cuda.get_device_name(pipeline.device)
    return f"CPU {platform.machine()}, {torch.get_num_threads()} thread(s)"


def table(report: Mapping[str, Any]) -> str:
    """The rows as Markdown."""
    titles = ["load", "subject", "jobs", "images/s", "image steps/s", "p50 s", "p95 s"]
    titles += ["p95 s of 4 steps", "busy %", "% of limit"]
    lines = [f"| {' | '.join(titles)} |", "|---|---|" + "---:|" * (len(titles) - 2)]
    for row in report["rows"]:
        cells = [row["load"], row["subject"], str(row["jobs"])]
        cells += [_cell(row[name], digits) for name, digits in _COLUMNS.items()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([report["machine"], "", *lines])


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diffusers_serving")
    parser.add_argument("--gpu-size", choices=sorted(TFLOP_AT_20_STEPS))
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
        arguments.size = {"sd15": 512, "sdxl": 1024}.get(arguments.gpu_size, 64)
    report = run(arguments)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    sys.stdout.write(table(report) + "\n")


if __name__ == "__main__":
    main()
