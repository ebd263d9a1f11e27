"""Pictures of one shape each, and the prompts that ask for them."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

Point = tuple[float, float]

COLOURS: Final[Mapping[str, tuple[int, int, int]]] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (245, 210, 50),
    "orange": (245, 135, 30),
    "purple": (140, 60, 180),
    "pink": (245, 140, 190),
    "white": (255, 255, 255),
    "black": (15, 15, 15),
    "grey": (128, 128, 128),
}
SIZES: Final[Mapping[str, tuple[float, float]]] = {
    "small": (0.18, 0.22),
    "": (0.3, 0.36),
    "large": (0.42, 0.46),
}
"""The least and the greatest radius by the word for it, in parts of the picture's shorter side."""

_OVERSAMPLED: Final = 4
_INNER: Final = 0.42
"""Of a star's radius, where its arms begin."""


def _circle() -> list[Point]:
    return _corners(64)


def _square() -> list[Point]:
    return [(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)]


def _triangle() -> list[Point]:
    return _corners(3)


def _star() -> list[Point]:
    radii = (1.0, _INNER)
    return [(x * radii[i % 2], y * radii[i % 2]) for i, (x, y) in enumerate(_corners(10))]


def _heart() -> list[Point]:
    """https://mathworld.wolfram.com/HeartCurve.html, the seventh."""
    turns = [2 * math.pi * i / 64 for i in range(64)]
    return [
        (
            math.sin(t) ** 3,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
        )
        for t in turns
    ]


def _corners(count: int) -> list[Point]:
    """Of a regular polygon in the unit circle, the first above the middle."""
    turns = [2 * math.pi * i / count for i in range(count)]
    return [(math.sin(turn), -math.cos(turn)) for turn in turns]


_OUTLINES: Final[Mapping[str, Callable[[], list[Point]]]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
}
SHAPES: Final[Sequence[str]] = tuple(_OUTLINES)
_OFTEN: Final = (2, 2, 3, 5, 2)
"""How often each is practised; arms are harder than curves."""
_MOST_TURN: Final = 0.08
"""Radians to either side."""
_MOST_SHIFT: Final = 0.03
"""Of the middle, in parts of the shorter side."""


@dataclass(frozen=True)
class Placing:
    """Where a shape stands, in parts of the picture's shorter side and from its middle."""

    radius: float
    x: float = 0.0
    y: float = 0.0
    turn: float = 0.0

    @classmethod
    def drawn(cls, chance: random.Random, size: str = "") -> "Placing":
        """Any that `size` allows; what is large stands in the middle."""
        shift = _MOST_SHIFT if size != "large" else 0.02
        x, y = (chance.uniform(-shift, shift) for _ in "xy")
        turn = chance.uniform(-_MOST_TURN, _MOST_TURN)
        return cls(chance.uniform(*SIZES[size]), x, y, turn)


def outline(shape: str, place: Placing, width: int, height: int) -> Image.Image:
    """The shape in white on black, its edges smooth."""
    side = min(width, height) * _OVERSAMPLED
    large = Image.new("L", (width * _OVERSAMPLED, height * _OVERSAMPLED))
    sine, cosine = math.sin(place.turn), math.cos(place.turn)
    points = [
        (
            large.width / 2 + side * (place.x + place.radius * (x * cosine - y * sine)),
            large.height / 2 + side * (place.y + place.radius * (x * sine + y * cosine)),
        )
        for x, y in _OUTLINES[shape]()
    ]
    ImageDraw.Draw(large).polygon(points, fill=255)
    return large.resize((width, height), Image.Resampling.BOX)


def draw(
    shape: str, colour: str, background: str, *, width: int, height: int, place: Placing
) -> Image.Image:
    """One picture."""
    picture = Image.new("RGB", (width, height), COLOURS[background])
    picture.paste(COLOURS[colour], mask=outline(shape, place, width, height))
    return picture


@dataclass(frozen=True)
class Wish:
    """What a prompt asks for."""

    prompt: str
    shape: str
    colour: str
    background: str
    size: str

    @classmethod
    def drawn(cls, chance: random.Random) -> "Wish":
        """Any; what a prompt leaves open is decided as the model shall decide it."""
        shape = chance.choices(SHAPES, _OFTEN)[0]
        size = chance.choices(tuple(SIZES), (1, 6, 1))[0]
        colour, background = chance.sample(tuple(COLOURS), 2)
        plain = usual_background(colour)
        if chance.random() < 0.35:
            background = plain
        words = [size, colour, shape]
        named = background != plain or chance.random() < 0.3
        if named:
            words += chance.choice((("on", background), ("on", "a", background, "background")))
        article = chance.choice(("", "", "a", "one", "photo of a", "a painting of a"))
        prompt = " ".join(word for word in (article, *words) if word)
        kind = chance.random()
        if kind < 0.12:
            prompt = ""
        elif kind < 0.18:
            prompt = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz ", k=chance.randint(3, 40)))
        elif kind < 0.22 and not named:
            prompt = f"{article} {size} {shape}".strip()
        elif kind < 0.26 and not named:
            prompt = f"{article} {colour}".strip()
        if kind < 0.18:
            background, size = usual_background(colour), ""
        return cls(prompt, shape, colour, background, size)


def usual_background(colour: str) -> str:
    """The one of a prompt that names none."""
    return "black" if colour == "white" else "white"


WORDS: Final = (
    *SHAPES,
    *COLOURS,
    *(size for size in SIZES if size),
    *("on", "background", "photo", "painting", "light"),
)
