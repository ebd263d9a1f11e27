"""One prediction of the fake: what `model/predict.py` does, in the server's own process."""

import asyncio
import base64
import contextlib
import random
from typing import Any, Final

from fakes.cog.drawing import Order, bars

CRASH: Final = "Worker crashed"
FAILED: Final = "Prediction failed: Prediction failed: "
NO_OBJECT: Final = "Input validation error: Input must be a JSON object"

Json = dict[str, Any]


class WorkerCrashed(Exception):
    """The process that works has ended."""


class Prediction:
    """One that is under way."""

    def __init__(self, name: str, given: Any, upload_url: str | None, begins_after: float) -> None:
        self.name, self.given, self.upload_url = name, given, upload_url
        self.begins_after, self.has_begun = begins_after, False
        self.logs = ""
        self.metrics: Json = {}
        self.cancelled = asyncio.Event()

    def cancel(self) -> None:
        """Lost on a model whose code has not begun, as by the real server's own process."""
        if self.has_begun:
            self.cancelled.set()

    def state(self) -> Json:
        """What somebody is told who joins it."""
        told = {"id": self.name, "input": self.given, "logs": self.logs}
        return {**told, "metrics": self.metrics, "status": "processing"}

    async def work(self) -> Json:
        """The answer, without what the server adds."""
        if not isinstance(self.given, dict):
            return {"error": NO_OBJECT, "logs": "", "status": "failed"}
        given = self.given
        await asyncio.sleep(self.begins_after)
        self.has_begun = True
        for line in bars(given.get("num_inference_steps", 4)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(given.get("step_seconds", 0.02)):
                    await self.cancelled.wait()
            if self.cancelled.is_set():
                return {"logs": "", "status": "canceled"}
            self.logs += line
        self.metrics["steps"] = given.get("num_inference_steps", 4)
        match given.get("output"):
            case "crash":
                raise WorkerCrashed
            case "error":
                error = f"{FAILED}RuntimeError: {given['prompt']}"
                return {"error": error, "logs": "", "status": "failed"}
        return {"logs": self.logs, "output": self._output(given), "status": "succeeded"}

    def _output(self, given: Json) -> Any:
        seed = given.get("seed")
        order = Order(
            given.get("prompt", ""),
            seed if seed is not None else random.randrange(2**32),  # noqa: S311
            given.get("width", 64),
            given.get("height", 64),
            base64.b64decode(given["image"].partition(",")[2]) if given.get("image") else None,
        )
        match given.get("output"):
            case "text":
                return order.prompt
            case "mesh":
                return self._file(order.mesh(), "model/gltf-binary")
            case "nested":
                pictures = [self._file(order.png(number), "image/png") for number in range(2)]
                return {"pictures": pictures, "more": {"first": pictures[0]}, "count": 2}
        if given.get("num_frames") is not None:
            return self._file(order.moving(given["num_frames"]), "image/gif")
        count = given.get("num_outputs", 1)
        return [self._file(order.png(number), "image/png") for number in range(count)]

    def _file(self, data: bytes, media_type: str) -> str:
        if self.upload_url:
            return f"{self.upload_url}/{self.name}.png"
        return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
