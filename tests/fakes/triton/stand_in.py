"""What the models do, for the python backend of a real Triton; see `served`.

It runs in Triton's own process, where nothing of this project can be imported.
"""

import hashlib
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from PIL import Image

STEP_SECONDS = float(os.environ.get("STEP_SECONDS", "0.02"))
STOP = Path(os.environ.get("STOP_FILE", "/nonexistent/stop"))
"""When this file is touched, what runs ends."""
HELD = Path(os.environ.get("HELD_FOLDER", "/nonexistent"))
"""A file stands there for each request that runs."""


class TritonPythonModel:
    """All of the models, told apart by their names."""

    def initialize(self, args: dict[str, str]) -> None:
        self.name = args["model_name"]
        self.config = json.loads(args["model_config"])

    def execute(self, requests: list[Any]) -> list[Any]:
        paint = getattr(self, f"_{self.name}")
        held = HELD / f"{self.name}-{os.getpid()}-{len(requests)}"
        if HELD.is_dir():
            held.touch()
        try:
            self._work(max(self._steps(request) for request in requests))
            return [self._answer(paint, request) for request in requests]
        finally:
            held.unlink(missing_ok=True)

    def _steps(self, request: Any) -> int:
        steps = self._value(request, "steps", 1)
        return 0 if steps > 500 else int(steps)

    def _work(self, steps: int) -> None:
        began = time.time()
        for _ in range(steps):
            if STOP.exists() and STOP.stat().st_mtime >= began:
                return
            time.sleep(STEP_SECONDS)

    def _answer(self, paint: Any, request: Any) -> Any:
        if self._value(request, "steps", 1) > 500:
            return _refusal("steps: at most 500", pb_utils.TritonError.INVALID_ARG)
        prompt = self._text(request)
        if prompt == "boom":
            raise RuntimeError("boom")
        if prompt == "memory":
            return _refusal("CUDA out of memory. Tried to allocate 20.00 GiB.")
        if prompt == "exit":
            os._exit(1)
        try:
            outputs = paint(request, prompt)
        except OSError as error:
            return _refusal(str(error).partition(" <")[0], pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(output_tensors=outputs)

    def _painter(self, request: Any, prompt: str) -> list[Any]:
        width, height = self._value(request, "width", 16), self._value(request, "height", 16)
        given = pb_utils.get_input_tensor_by_name(request, "image")
        start = b"" if given is None else given.as_numpy().tobytes()
        pixels = drawn(prompt, self._value(request, "seed", 0), start, 3 * width * height)
        shaped = np.frombuffer(pixels, np.uint8).reshape(1, height, width, 3)
        return [pb_utils.Tensor("image", shaped)]

    def _files(self, request: Any, prompt: str) -> list[Any]:
        given = pb_utils.get_input_tensor_by_name(request, "image")
        start = b""
        if given is not None:
            start = Image.open(io.BytesIO(given.as_numpy()[0])).convert("RGB").tobytes()
        files = [png(drawn(prompt, seed, start, 3 * 8 * 8), 8, 8) for seed in (0, 1)]
        return [pb_utils.Tensor("image", np.array(files, dtype=np.object_))]

    def _floats(self, request: Any, prompt: str) -> list[Any]:
        given = pb_utils.get_input_tensor_by_name(request, "INIT_IMAGE")
        start = b"" if given is None else given.as_numpy().tobytes()
        pixels = np.frombuffer(drawn(prompt, 0, start, 3 * 8 * 16), np.uint8).reshape(3, 8, 16)
        return [pb_utils.Tensor("GENERATED_IMAGE", pixels.astype(np.float32) / np.float32(255))]

    def _echo(self, request: Any, prompt: str) -> list[Any]:
        del prompt
        outputs = []
        for output in self.config["output"]:
            given = pb_utils.get_input_tensor_by_name(request, output["name"].replace("out", "in"))
            if given is None:
                kind = pb_utils.triton_string_to_numpy(output["data_type"])
                array = np.zeros(1, kind)
                if kind is np.object_:
                    array[0] = b""
            else:
                array = given.as_numpy()
            outputs.append(pb_utils.Tensor(output["name"], array))
        return outputs

    def _value(self, request: Any, name: str, default: int) -> int:
        given = pb_utils.get_input_tensor_by_name(request, name)
        return default if given is None else int(given.as_numpy().reshape(-1)[0])

    def _text(self, request: Any) -> str:
        for name in ("prompt", "PROMPT"):
            if (given := pb_utils.get_input_tensor_by_name(request, name)) is not None:
                return str(given.as_numpy().reshape(-1)[0].decode())
        return ""


def drawn(prompt: str, seed: int, start: bytes, size: int) -> bytes:
    """The same pixels for the same prompt, seed and start image, as the fake draws them."""
    asked = f"{prompt}\n{seed}\n{hashlib.sha256(start).hexdigest()}"
    return hashlib.shake_256(asked.encode()).digest(size)


def png(pixels: bytes, width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", (width, height), pixels).save(file, "PNG")
    return file.getvalue()


def _refusal(words: str, code: Any = None) -> Any:
    error = pb_utils.TritonError(words) if code is None else pb_utils.TritonError(words, code)
    return pb_utils.InferenceResponse(error=error)
