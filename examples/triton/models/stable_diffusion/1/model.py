"""A text-to-image pipeline of diffusers for Triton's python backend."""

import json
import os
from collections import defaultdict
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils
from diffusers import DiffusionPipeline

MOST_STEPS = 150
LARGEST_SIDE = 2048


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        model = os.environ.get("MODEL") or parameters["model"]["string_value"]
        on_gpu = args["model_instance_kind"] == "GPU"
        dtype = torch.float16 if on_gpu else torch.float32
        pipeline = DiffusionPipeline.from_pretrained(model, torch_dtype=dtype)
        self.pipeline = pipeline.to(f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu")
        self.pipeline.set_progress_bar_config(disable=True)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Paint all requests that ask for the same settings in one go."""
        answers: list[Any] = [None] * len(requests)
        groups = defaultdict(list)
        for number, request in enumerate(requests):
            asked = read(request)
            if words := wrong(asked):
                error = pb_utils.TritonError(words, pb_utils.TritonError.INVALID_ARG)
                answers[number] = pb_utils.InferenceResponse(error=error)
            else:
                same = tuple(asked[name] for name in ("steps", "guidance_scale", "width", "height"))
                groups[same].append((number, asked))
        for members in groups.values():
            images = self.paint([asked for _, asked in members])
            for (number, _), image in zip(members, images, strict=True):
                tensor = pb_utils.Tensor("image", image[np.newaxis])
                answers[number] = pb_utils.InferenceResponse(output_tensors=[tensor])
        return answers

    def paint(self, batch: list[dict[str, Any]]) -> Any:
        settings = {"guidance_scale": batch[0]["guidance_scale"]}
        settings |= {name: batch[0][name] for name in ("width", "height") if batch[0][name]}
        images = self.pipeline(
            [asked["prompt"] for asked in batch],
            negative_prompt=[asked["negative_prompt"] for asked in batch],
            num_inference_steps=batch[0]["steps"],
            # On the CPU, so that a seed gives the same image on any device.
            generator=[torch.Generator("cpu").manual_seed(asked["seed"]) for asked in batch],
            output_type="np",
            **settings,
        ).images
        return (images * 255).round().astype(np.uint8)


def read(request: Any) -> dict[str, Any]:
    return {
        "prompt": value(request, "prompt", b"").decode(),
        "negative_prompt": value(request, "negative_prompt", b"").decode(),
        "steps": int(value(request, "steps", 30)),
        "guidance_scale": float(value(request, "guidance_scale", 7.5)),
        "seed": int(value(request, "seed", 0)),
        "width": int(value(request, "width", 0)),
        "height": int(value(request, "height", 0)),
    }


def value(request: Any, name: str, default: Any) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else tensor.as_numpy().reshape(-1)[0]


def wrong(asked: dict[str, Any]) -> str | None:
    """Why it cannot be painted; Triton answers 400 with these words."""
    if not 1 <= asked["steps"] <= MOST_STEPS:
        return f"steps: must be from 1 to {MOST_STEPS}"
    for side in ("width", "height"):
        if asked[side] % 8 or not 0 <= asked[side] <= LARGEST_SIDE:
            return f"{side}: must be a multiple of 8, at most {LARGEST_SIDE}"
    return None
