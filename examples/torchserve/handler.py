"""A handler for TorchServe 0.12: a pipeline of diffusers that makes images from text.

In: JSON with `prompt`, `negative_prompt`, `num_inference_steps`, `guidance_scale`, `width`,
`height` and `seed`, all but the prompt optional. Out: a list of `{"image": base64 of a PNG}`.
"""

import base64
import inspect
import io
import json
import os
import secrets
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import DiffusionPipeline
from ts.utils.util import PredictionException

MODEL: Final = os.environ.get("SD_MODEL", "model")
"""A folder, by itself or in the model's archive, or a name on the Hugging Face Hub."""
LARGEST: Final = int(os.environ.get("SD_LARGEST", "2048"))
"""Pixels of a side."""
FIELDS: Final = {
    "negative_prompt": str,
    "num_inference_steps": int,
    "guidance_scale": float,
    "width": int,
    "height": int,
}


class TextToImage:
    """One pipeline in one worker."""

    pipeline: Any
    device: str

    def initialize(self, context: Any) -> None:
        """Load the model, once, before the first request."""
        gpu, folder = context.system_properties["gpu_id"], context.system_properties["model_dir"]
        on_gpu = torch.cuda.is_available() and gpu is not None
        inside = Path(folder, MODEL)
        self.device = f"cuda:{gpu}" if on_gpu else "cpu"
        self.pipeline = DiffusionPipeline.from_pretrained(
            inside if inside.is_dir() else MODEL,
            torch_dtype=torch.float16 if on_gpu else torch.float32,
        ).to(self.device)
        self.pipeline.set_progress_bar_config(disable=True)

    def handle(self, data: list[dict[str, Any]], _: object) -> list[list[dict[str, str]]]:
        """One answer for each request of a batch."""
        return [self.images(row.get("body") or row.get("data")) for row in data]

    def images(self, body: Any) -> list[dict[str, str]]:
        """The answer to a request; what is wrong with one is said with status 400."""
        try:
            asked = json.loads(body) if isinstance(body, bytes | bytearray | str) else dict(body)
            prompt = str(asked["prompt"])
            seed = int(asked.get("seed", secrets.randbelow(2**32)))
            fields = {name: kind(asked[name]) for name, kind in FIELDS.items() if name in asked}
        except KeyError as error:
            raise PredictionException(f"{error.args[0]}: is missing", 400) from error
        except (TypeError, ValueError) as error:
            raise PredictionException(str(error), 400) from error
        for side in ("width", "height"):
            if not 0 < fields.get(side, 8) <= LARGEST or fields.get(side, 8) % 8:
                raise PredictionException(f"{side}: a multiple of 8 up to {LARGEST}", 400)
        known = inspect.signature(self.pipeline.__call__).parameters
        with torch.inference_mode():
            made = self.pipeline(
                prompt,
                generator=torch.Generator(self.device).manual_seed(seed),
                **{name: value for name, value in fields.items() if name in known},
            )
        return [{"image": encoded(image)} for image in made.images]


def encoded(image: Any) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
