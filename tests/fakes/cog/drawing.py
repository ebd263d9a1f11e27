"""What the model makes, by the real server and by the fake: pictures, moving ones, meshes."""

import io
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from PIL import Image

MESH: Final = b'{"asset":{"version":"2.0"}}'.ljust(28)
"""The least that a file of glTF has, in four-byte words."""


@dataclass(frozen=True)
class Order:
    """What is asked of the model."""

    prompt: str
    seed: int
    width: int = 64
    height: int = 64
    start: bytes | None = None

    def picture(self, number: int = 0) -> Image.Image:
        chance = random.Random(f"{self.prompt} {self.seed} {number}")  # noqa: S311
        size = (self.width, self.height)
        picture = Image.new("RGB", size, tuple(chance.randbytes(3)))
        if self.start is not None:
            start = Image.open(io.BytesIO(self.start)).convert("RGB").resize(size)
            picture = Image.blend(start, picture, 0.5)
        return picture

    def png(self, number: int) -> bytes:
        file = io.BytesIO()
        self.picture(number).save(file, "PNG")
        return file.getvalue()

    def moving(self, frames: int) -> bytes:
        file = io.BytesIO()
        first, *others = [self.picture(number) for number in range(max(frames, 2))]
        first.save(file, "GIF", save_all=True, append_images=others)
        return file.getvalue()

    def mesh(self) -> bytes:
        body = struct.pack("<II", len(MESH), 0x4E4F534A) + MESH
        return struct.pack("<III", 0x46546C67, 2, 12 + len(body)) + body


def bar(step: int, steps: int) -> str:
    """A line of tqdm's."""
    filled = "█" * (10 * step // steps)
    return f"\r{100 * step // steps:3d}%|{filled:<10}| {step}/{steps} [00:00<00:00, 50.00it/s]"


def bars(steps: int) -> Iterator[str]:
    for step in range(1, steps + 1):
        yield bar(step, steps)
