"""What is in a picture of one shape: which shape, in which colour, on which background."""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiny_model.drawings import COLOURS, SHAPES, Placing, outline

Mask = NDArray[np.bool_]

_DIRECTIONS: Final = 72
_TURNS: Final = (-0.2, -0.1, 0.0, 0.1, 0.2)
_ALIKE: Final = 0.7
"""Least correlation of two outlines of one shape."""
_ROUND: Final = 0.055
"""Most that a circle's radii differ, as their deviation in parts of their mean."""
_WHOLE: Final = 0.8
"""Least part of a figure's outline that it fills; of scattered pixels there is less."""
_CONTRAST: Final = 40
"""Least difference, in a channel of 256 levels, between shape and background."""


@dataclass(frozen=True)
class Seen:
    """What a picture shows."""

    shape: str | None
    """None: nothing that looks like one of the shapes."""
    colour: str
    background: str


def seen_in(picture: Image.Image) -> Seen:
    """Look at a picture."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float64)
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    background: NDArray[np.float64] = np.median(np.concatenate(edges), axis=0)
    difference = np.abs(pixels - background).max(axis=2)
    differs: Mask = difference > max(_CONTRAST, difference.max() / 2)
    if not differs.any():
        nothing = _nearest(background)
        return Seen(None, nothing, nothing)
    colour: NDArray[np.float64] = np.median(pixels[differs], axis=0)
    # soft edges belong to what they are nearer to
    mask: Mask = _distance(pixels, colour) < _distance(pixels, background)
    return Seen(_shape_of(mask), _nearest(colour), _nearest(background))


def middle(picture: Image.Image) -> tuple[float, float]:
    """Where the shape's middle is, in parts of width and height."""
    rows, columns = np.nonzero(_unlike_the_corner(picture))
    return float(columns.mean()) / picture.width, float(rows.mean()) / picture.height


def covered(picture: Image.Image) -> float:
    """The part of the picture that is not background."""
    return float(_unlike_the_corner(picture).mean())


def _unlike_the_corner(picture: Image.Image) -> Mask:
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float64)
    difference = np.abs(pixels - pixels[0, 0]).max(axis=2)
    mask: Mask = difference > difference.max() / 2
    return mask


def _shape_of(mask: Mask) -> str | None:
    """By the distances of the outline from the middle, direction by direction."""
    radii, filled = _outline(mask)
    if filled < _WHOLE:
        return None
    if radii.std() < _ROUND * radii.mean():
        return "circle"
    likeness = {
        shape: max(float(np.corrcoef(radii, template)[0, 1]) for template in _templates(shape))
        for shape in SHAPES
        if shape != "circle"
    }
    best = max(likeness, key=lambda shape: likeness[shape])
    return best if likeness[best] >= _ALIKE else None


@cache
def _templates(shape: str) -> tuple[NDArray[np.float64], ...]:
    drawn = [outline(shape, Placing(0.4, turn=turn), 128, 128) for turn in _TURNS]
    return tuple(_outline(np.asarray(image) > 127)[0] for image in drawn)


def _outline(mask: Mask) -> tuple[NDArray[np.float64], float]:
    """Radii around the middle, and which part of what they surround is set."""
    rows, columns = np.nonzero(mask)
    down, right = rows - rows.mean(), columns - columns.mean()
    direction = ((np.arctan2(down, right) / (2 * np.pi) + 0.5) * _DIRECTIONS).astype(int)
    area = np.bincount(direction % _DIRECTIONS, minlength=_DIRECTIONS)
    farthest = np.zeros(_DIRECTIONS)
    np.maximum.at(farthest, direction % _DIRECTIONS, np.hypot(down, right))
    surrounded = np.square(farthest).sum() * np.pi / _DIRECTIONS
    return np.sqrt(area * _DIRECTIONS / np.pi), float(area.sum() / surrounded)


def _distance(pixels: NDArray[np.float64], colour: NDArray[np.float64]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = np.square(pixels - colour).sum(axis=-1)
    return squares


def _nearest(colour: NDArray[np.float64]) -> str:
    return min(COLOURS, key=lambda name: float(np.square(colour - COLOURS[name]).sum()))
