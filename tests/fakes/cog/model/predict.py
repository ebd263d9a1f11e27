"""A model of colours, as cog serves it: no weights, the usual inputs."""

import os
import random
import sys
import tempfile
import time
from typing import Any

from cog import BaseRunner, Input, Path, current_scope

from fakes.cog.drawing import Order, bars


class Runner(BaseRunner):
    def setup(self) -> None:
        if "FAKE_COG_SETUP" in os.environ:
            raise RuntimeError(os.environ["FAKE_COG_SETUP"])

    def run(
        self,
        prompt: str = Input(description="What to draw"),
        negative_prompt: str = Input(default=""),
        width: int = Input(default=64, ge=64, le=1024),
        height: int = Input(default=64, ge=64, le=1024),
        num_outputs: int = Input(default=1, ge=1, le=4),
        num_inference_steps: int = Input(default=4, ge=1, le=100_000),
        guidance_scale: float = Input(default=7.5, ge=1, le=20),
        scheduler: str = Input(default="DDIM", choices=["DDIM", "K_EULER", "PNDM"]),
        seed: int | None = Input(default=None),
        image: Path | None = Input(default=None),
        mask: Path | None = Input(default=None),
        prompt_strength: float = Input(default=0.8, ge=0, le=1),
        num_frames: int | None = Input(default=None),
        fps: int = Input(default=8),
        step_seconds: float = Input(default=0.02),
        output: str = Input(default="images"),
    ) -> Any:
        for line in bars(num_inference_steps):
            time.sleep(step_seconds)
            sys.stderr.write(line)
            sys.stderr.flush()
        current_scope().record_metric("steps", num_inference_steps)
        seed = random.randrange(2**32) if seed is None else seed
        start = image.read_bytes() if image else None
        order = Order(prompt, seed, width, height, start)
        match output:
            case "error":
                raise RuntimeError(prompt)
            case "crash":
                os._exit(1)
            case "text":
                return prompt
            case "nested":
                pictures = [written(order.png(number), ".png") for number in range(2)]
                return {"pictures": pictures, "more": {"first": pictures[0]}, "count": 2}
            case "mesh":
                return written(order.mesh(), ".glb")
        if num_frames is not None:
            return written(order.moving(num_frames), ".gif")
        return [written(order.png(number), ".png") for number in range(num_outputs)]


def written(data: bytes, suffix: str) -> Path:
    descriptor, name = tempfile.mkstemp(suffix)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return Path(name)
