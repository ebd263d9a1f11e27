"""Placeholders: what a picture looks like from afar, in a few letters (https://blurha.sh).

The format: https://github.com/woltapp/blurhash/blob/master/Algorithm.md
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.Image import Image

_LETTERS: Final = (
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
)
_SIDE: Final = 32
"""Pixels of the side that it is told from: what is smaller is not seen in it."""
_COMPONENTS: Final = (4, 3)
"""Waves along the longer side, and along the shorter one."""

Colour = tuple[float, float, float]


def blurhash(picture: "Image") -> str:
    """The placeholder of a picture, told from a small copy of it; what is transparent is white."""
    small = picture.copy()
    small.thumbnail((_SIDE, _SIDE))
    width, height = small.size
    pixels = _linear(small)
    along, down = _COMPONENTS if width >= height else _COMPONENTS[::-1]
    waves = [_waves(side, count) for side, count in ((width, along), (height, down))]
    factors = [
        _factor(pixels, waves[0][x], waves[1][y], 2.0 if x or y else 1.0)
        for y in range(down)
        for x in range(along)
    ]
    return _written(factors, along, down)


def _waves(side: int, count: int) -> list[list[float]]:
    return [
        [math.cos(math.pi * wave * place / side) for place in range(side)] for wave in range(count)
    ]


def _linear(picture: "Image") -> list[list[Colour]]:
    rgba = picture.convert("RGBA")
    data, width = rgba.tobytes(), rgba.width
    light = [_to_linear(value) for value in range(256)]
    colours: list[Colour] = []
    for place in range(0, len(data), 4):
        alpha = data[place + 3] / 255
        red, green, blue = (light[value] * alpha + 1 - alpha for value in data[place : place + 3])
        colours.append((red, green, blue))
    return [colours[start : start + width] for start in range(0, len(colours), width)]


def _factor(
    pixels: Sequence[Sequence[Colour]],
    along: Sequence[float],
    down: Sequence[float],
    weight: float,
) -> Colour:
    total = [0.0, 0.0, 0.0]
    for row, high in zip(pixels, down, strict=True):
        for colour, wide in zip(row, along, strict=True):
            for channel, value in enumerate(colour):
                total[channel] += value * wide * high
    scale = weight / (len(along) * len(down))
    return total[0] * scale, total[1] * scale, total[2] * scale


def _written(factors: Sequence[Colour], along: int, down: int) -> str:
    mean, waves = factors[0], factors[1:]
    largest = max(abs(value) for colour in waves for value in colour)
    steps = max(0, min(82, math.floor(largest * 166 - 0.5)))
    scale = (steps + 1) / 166
    red, green, blue = (_to_srgb(value) for value in mean)
    text = _base83(along - 1 + (down - 1) * 9, 1) + _base83(steps, 1)
    text += _base83((red << 16) + (green << 8) + blue, 4)
    for colour in waves:
        high, middle, low = (_step(value / scale) for value in colour)
        text += _base83(high * 361 + middle * 19 + low, 2)
    return text


def _step(value: float) -> int:
    rooted = math.copysign(abs(value) ** 0.5, value)
    return max(0, min(18, math.floor(rooted * 9 + 9.5)))


def _base83(value: int, length: int) -> str:
    return "".join(_LETTERS[value // 83**place % 83] for place in reversed(range(length)))


def _to_linear(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)


def _to_srgb(value: float) -> int:
    share = max(0.0, min(1.0, value))
    curved = share * 12.92 if share <= 0.0031308 else 1.055 * share ** (1 / 2.4) - 0.055
    return int(curved * 255 + 0.5)
