"""Whether the bundled runtime's memory grows with the jobs that it has done.

    python -m benchmarks.diffusers_memory                  1,000 jobs of a wide mix, tiny models
    python -m benchmarks.diffusers_memory --jobs 80        a few, to see that it works

Jobs of random sizes, step counts and counts, with and without guidance, images to start from,
LoRAs, ControlNets and previews go through the bundled runtime's engine, a few at a time, to a UNet
and, at all qualities, to a transformer; some are cancelled, some fail, of some a checkpoint is
taken. After every tenth of them, when none runs, it is read what the process holds: resident memory
as the kernel counts it, the bytes of pixels that live images have, and those of live tensors. The
first tenths fill caches and the allocator's pools, so growth is that of the second half.
"""

import argparse
import gc
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image

from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.jobs import EngineJob
from queue_agent_diffusers.engine.pool import ModelPool, Served
from queue_agent_diffusers.engine.requests import ControlInput, ImageRequest, LoraWeight
from queue_agent_diffusers.errors import ServerError
from queue_agent_diffusers.options import Options
from queue_agent_diffusers.torch.loader import load_model, load_pipeline
from queue_agent_diffusers.torch.tiny import build_tiny_model

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # their tiny networks
from tiny_conditioning import save_control_net
from tiny_transformers import tiny_transformer

TENTHS: Final = 10
MIB: Final = 2**20
SIDES: Final = (64, 96, 128, 192, 256)
AT_A_TIME: Final = 8
CANCELLED: Final = 0.05
"""Share of the jobs that are cancelled once they are submitted; of as many a checkpoint is made."""
LORAS: Final = 12
PROMPTS: Final = 40
"""So few that what is remembered of them, up to a bound, is there before the second half."""
DAMAGED: Final = "damaged"
QUALITIES: Final[tuple[Quality, ...]] = ("exact", "balanced", "fast")


@dataclass(frozen=True)
class Reading:
    """What the process holds after so many jobs."""

    jobs: int
    resident: float
    """MiB, as the kernel counts it."""
    pixels: float
    """MiB of live images."""
    tensors: float
    """MiB of live tensors, the weights included."""
    objects: int
    """That Python's garbage collector tracks."""

    @classmethod
    def now(cls, jobs: int) -> "Reading":
        """Read it, after a collection."""
        gc.collect()
        alive = gc.get_objects()
        images = (one for one in alive if issubclass(type(one), Image.Image))
        pixels = sum(len(one.getbands()) * one.width * one.height for one in images)
        tensors = sum(one.nbytes for one in alive if issubclass(type(one), torch.Tensor))
        return cls(jobs, _resident(), pixels / MIB, tensors / MIB, len(alive))


def readings(jobs: int, seed: int) -> tuple[list[Reading], Counter[str]]:
    """Do so many jobs, read ten times on the way, and count how they ended."""
    with TemporaryDirectory() as folder:
        return _readings(jobs, seed, _pool(Path(folder)))


def _readings(jobs: int, seed: int, pool: ModelPool) -> tuple[list[Reading], Counter[str]]:
    engine = Engine(pool)
    engine.start()
    while not engine.ready:
        time.sleep(0.01)
    chance = random.Random(seed)  # noqa: S311  no secret
    requests, done = _requests(chance), 0
    found: list[Reading] = []
    ends: Counter[str] = Counter()
    try:
        while done < jobs:
            upto = jobs * (len(found) + 1) // TENTHS
            while done < upto:
                some = list(islice(requests, min(AT_A_TIME, upto - done)))
                ends.update(_do(engine, some, done, chance))
                done += len(some)
            found.append(Reading.now(done))
    finally:
        engine.close()
    return found, ends


def _pool(folder: Path) -> ModelPool:
    """A UNet with LoRAs, one of them damaged, and a ControlNet; and a transformer."""
    unet, flux, loras = (folder / name for name in ("unet", "flux", "loras"))
    loras.mkdir()
    build_tiny_model(unet)
    tiny_transformer("Flux").save_pretrained(flux)
    edges = save_control_net("sd", folder / "edges")
    _save_loras(str(unet), loras)
    options = Options(device="cpu", lora_dir=loras, control_nets={"edges": str(edges)})
    served = {
        "unet": Served(lambda: load_model(str(unet), options)),
        "flux": Served(lambda: load_model(str(flux), Options(device="cpu"))),
    }
    return ModelPool(served)


def _save_loras(model: str, folder: Path) -> None:
    pipeline: Any = load_pipeline(model, Options(device="cpu"))
    config = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    for number in range(LORAS):
        name = f"lora-{number}"
        pipeline.unet.add_adapter(config, adapter_name=name)
        layers = get_peft_model_state_dict(pipeline.unet, adapter_name=name)
        file = f"{name}.safetensors"
        pipeline.save_lora_weights(folder, unet_lora_layers=layers, weight_name=file)
    (folder / f"{DAMAGED}.safetensors").write_bytes(b"x" * 64)


def growth(found: Sequence[Reading]) -> float:
    """MiB of resident memory for 1,000 jobs, over the second half: the slope of a straight line."""
    half = found[len(found) // 2 - 1 :]
    jobs = [reading.jobs for reading in half]
    mean_jobs = sum(jobs) / len(jobs)
    mean = sum(reading.resident for reading in half) / len(half)
    spread = sum((count - mean_jobs) ** 2 for count in jobs)
    together = sum((one.jobs - mean_jobs) * (one.resident - mean) for one in half)
    return 1000 * together / spread


def _do(
    engine: Engine, requests: Sequence[ImageRequest], number: int, chance: random.Random
) -> list[str]:
    """How each ended."""
    submitted: list[EngineJob] = []
    ends: list[str] = []
    for place, request in enumerate(requests):
        try:
            job = engine.submit(f"job-{number + place}", request)
        except ServerError as error:
            ends.append(type(error).__name__)
            continue
        submitted.append(job)
        drawn = chance.random()
        if drawn < CANCELLED:
            job.cancel()
        elif drawn < 2 * CANCELLED:
            engine.checkpoint(job.id, stop=chance.random() < 0.5)
    for job in submitted:
        failure = job.result.exception(timeout=600)
        ends.append(type(failure).__name__ if failure else "completed")
    return ends


def _requests(chance: random.Random) -> Iterator[ImageRequest]:
    while True:
        request = ImageRequest(
            f"a lighthouse, number {chance.randrange(PROMPTS)}", seed=chance.randrange(2**32)
        )
        yield _of_flux(request, chance) if chance.random() < 0.3 else _of_unet(request, chance)


def _of_flux(request: ImageRequest, chance: random.Random) -> ImageRequest:
    return replace(
        request,
        model="flux",
        width=64,
        height=64,
        steps=chance.choice((4, 6, 8)),
        quality=chance.choice(QUALITIES),
        guidance_scale=chance.choice((1.0, 3.5)),
    )


def _of_unet(request: ImageRequest, chance: random.Random) -> ImageRequest:
    width, height = chance.choice(SIDES), chance.choice(SIDES)
    image = Image.new("RGB", (width, height), "teal")
    request = replace(
        request,
        model="unet",
        width=width,
        height=height,
        count=chance.choice((1, 1, 1, 2)),
        steps=chance.choice((2, 3, 4)),
        quality=chance.choice(QUALITIES),
        guidance_scale=chance.choice((1.0, 7.5)),
        preview_interval=chance.choice((None, 0.1)),
    )
    drawn = chance.random()
    if drawn < 0.2:
        return replace(request, image=image, strength=0.8)
    if drawn < 0.4:
        return replace(request, controls=(ControlInput("edges", image, chance.random()),))
    if drawn < 0.65:
        names = chance.sample(range(LORAS), chance.choice((1, 2)))
        loras = tuple(LoraWeight(f"lora-{name}", chance.random()) for name in names)
        return replace(request, loras=loras)
    if drawn < 0.7:
        return replace(request, loras=(LoraWeight(DAMAGED),))
    if drawn < 0.75:
        return replace(request, controls=(ControlInput("of nobody", image),))
    return request


def _resident() -> float:
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Do the jobs, print what was read as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diffusers_memory")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found, ends = readings(arguments.jobs, arguments.seed)
    lines = ["| jobs | resident MiB | pixels of live images, MiB | tensors, MiB | objects |"]
    lines += ["|---:|---:|---:|---:|---:|"]
    for one in found:
        held = " | ".join(f"{mib:.1f}" for mib in (one.resident, one.pixels, one.tensors))
        lines += [f"| {one.jobs:,} | {held} | {one.objects:,} |"]
    lines += ["", f"Growth of the second half: {growth(found):+.1f} MiB for 1,000 jobs."]
    lines += ["Ends: " + ", ".join(f"{end} {count:,}" for end, count in ends.most_common()) + "."]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
