"""The models' queues: what waits, what runs, and what comes out."""

import asyncio
import struct
from dataclasses import dataclass
from typing import Any

from fakes.triton.drawing import drawn, pixels_of, png
from fakes.triton.requests import CODES, Inference, Refusal
from fakes.triton.served import MOST_STEPS, OUT_OF_MEMORY, TOO_MANY, Served


@dataclass(frozen=True)
class Made:
    """An output with its data."""

    name: str
    datatype: str
    shape: list[int]
    data: bytes


class Engine:
    """Works on one model's requests, batch by batch; nobody can tell it to stop."""

    def __init__(self, model: Served, step_seconds: float) -> None:
        self.model = model
        self.held = 0
        """Requests that wait or run."""
        self.dead = False
        """Its process has ended."""
        self._step_seconds = step_seconds
        self._waiting: asyncio.Queue[tuple[Inference, asyncio.Future[list[Made]]]] = asyncio.Queue()
        self._stop = asyncio.Event()

    async def infer(self, inference: Inference) -> list[Made]:
        """Raises `Refusal`. A caller who leaves is not noticed."""
        if self.dead:
            raise self._not_healthy()
        answer: asyncio.Future[list[Made]] = asyncio.get_running_loop().create_future()
        self.held += 1
        self._waiting.put_nowait((inference, answer))
        return await asyncio.shield(answer)

    def end_work(self) -> None:
        """What runs ends; no route of Triton does that."""
        self._stop.set()

    async def work(self) -> None:
        """For as long as the server is there."""
        while True:
            batch = [await self._waiting.get()]
            while self.model.dynamic and len(batch) < self.model.max_batch:
                if self._waiting.empty():
                    break
                batch.append(self._waiting.get_nowait())
            self._stop.clear()
            steps = (inference.value("steps", 1) for inference, _ in batch)
            await self._run(max((one for one in steps if one <= MOST_STEPS), default=0))
            for inference, answer in batch:
                self.held -= 1
                self._settle(inference, answer)

    async def _run(self, steps: int) -> None:
        try:
            async with asyncio.timeout(steps * self._step_seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    def _settle(self, inference: Inference, answer: "asyncio.Future[list[Made]]") -> None:
        try:
            answer.set_result(self._made(inference))
        except Refusal as refusal:
            answer.set_exception(refusal)
            answer.exception()  # its caller may have left

    def _made(self, inference: Inference) -> list[Made]:
        prompt = inference.prompt
        if self.dead:
            raise self._not_healthy()
        if inference.value("steps", 1) > MOST_STEPS:
            raise Refusal(400, TOO_MANY)
        if prompt == "boom":
            words = f"Failed to process the request(s) for model '{self.model.name}_0_0', message: "
            raise Refusal(500, f"{words}RuntimeError: boom\n\nAt:\n  model.py(57): _answer\n")
        if prompt == "memory":
            raise Refusal(500, OUT_OF_MEMORY)
        if prompt == "exit":
            self.dead = True
            raise self._not_healthy()
        try:
            made: list[Made] = getattr(self, f"_{self.model.name}")(inference, prompt)
        except OSError as error:
            raise Refusal(400, str(error).partition(" <")[0]) from error
        return [one for one in made if one.name in inference.binary]

    def _not_healthy(self) -> Refusal:
        return Refusal(500, f"Stub process '{self.model.name}_0_0' is not healthy.")

    def _painter(self, inference: Inference, prompt: str) -> list[Made]:
        width, height = inference.value("width", 16), inference.value("height", 16)
        start = inference.inputs["image"].data if "image" in inference.inputs else b""
        pixels = drawn(prompt, inference.value("seed", 0), start, 3 * width * height)
        return [Made("image", "UINT8", [1, height, width, 3], pixels)]

    def _files(self, inference: Inference, prompt: str) -> list[Made]:
        given = inference.value("image", None)
        start = b"" if given is None else pixels_of(given)
        files = [png(drawn(prompt, seed, start, 3 * 8 * 8), 8, 8) for seed in (0, 1)]
        data = b"".join(struct.pack("<I", len(file)) + file for file in files)
        return [Made("image", "BYTES", [2], data)]

    def _floats(self, inference: Inference, prompt: str) -> list[Made]:
        start = inference.inputs["INIT_IMAGE"].data if "INIT_IMAGE" in inference.inputs else b""
        pixels = drawn(prompt, 0, start, 3 * 8 * 16)
        data = struct.pack(f"<{len(pixels)}f", *(value / 255 for value in pixels))
        return [Made("GENERATED_IMAGE", "FP32", [3, 8, 16], data)]

    def _echo(self, inference: Inference, prompt: str) -> list[Made]:
        del prompt
        made = []
        for output in self.model.outputs:
            kind = output.datatype
            given = inference.inputs.get(f"in_{kind}")
            empty = b"\0" * (4 if kind == "BYTES" else struct.calcsize(CODES[kind]))
            shape, data = (given.shape, given.data) if given else ([1], empty)
            made.append(Made(output.name, kind, shape, data))
        return made


def json_data(made: Made) -> list[Any]:
    """The data as JSON has it."""
    if made.datatype == "BYTES":
        found, place = [], 0
        while place < len(made.data):
            (length,) = struct.unpack_from("<I", made.data, place)
            found.append(made.data[place + 4 : place + 4 + length].decode("latin-1"))
            place += 4 + length
        return found
    count = len(made.data) // struct.calcsize(CODES[made.datatype])
    return [*struct.unpack(f"<{count}{CODES[made.datatype]}", made.data)]
