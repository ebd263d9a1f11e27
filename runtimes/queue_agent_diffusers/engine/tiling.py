"""Enlarging pictures piece by piece, so that the memory it takes does not grow with them."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Final

from PIL import Image, ImageChops

OVERLAP: Final = 32
"""Pixels of the picture that two neighbouring tiles share, and fade into each other."""

Size = tuple[int, int]


def tiles_of(size: Size, tile: int, multiple: int) -> list[Size]:
    """Where the tiles of a picture begin, row by row.

    `tile` is their largest side and `multiple` what each side is a multiple of, in pixels.
    """
    across, down = (list(_starts(side, tile)) for side in _rounded_up(size, multiple))
    return [(x, y) for y, x in product(down, across)]


def enlarge_by_tiles(
    picture: Image.Image,
    factor: int,
    enlarge: Callable[[Image.Image, int], Image.Image],
    *,
    tile: int,
    multiple: int,
) -> Image.Image:
    """The picture with sides `factor` times as long.

    `enlarge` does that to one tile and is told its number. What it makes of a picture that fits
    into one tile is the answer as it is.
    """
    filled = _filled(picture, _rounded_up(picture.size, multiple))
    made = Image.new("RGB", (filled.width * factor, filled.height * factor))
    for number, (x, y) in enumerate(tiles_of(picture.size, tile, multiple)):
        box = (x, y, min(x + tile, filled.width), min(y + tile, filled.height))
        piece = enlarge(filled.crop(box), number)
        made.paste(piece, (x * factor, y * factor), _fading(piece.size, x, y, factor))
    return made.crop((0, 0, picture.width * factor, picture.height * factor))


def _rounded_up(size: Size, multiple: int) -> Size:
    width, height = (-(-side // multiple) * multiple for side in size)
    return width, height


def _starts(side: int, tile: int) -> Iterator[int]:
    start = 0
    while start + tile < side:
        yield start
        start += tile - OVERLAP
    yield max(0, side - tile)


def _filled(picture: Image.Image, size: Size) -> Image.Image:
    """The picture with its last column and row repeated up to that size."""
    if picture.size == size:
        return picture
    filled = Image.new("RGB", size)
    filled.paste(picture)
    (width, height), (right, below) = (
        picture.size,
        (size[0] - picture.width, size[1] - picture.height),
    )
    if right:
        column = picture.crop((width - 1, 0, width, height))
        filled.paste(column.resize((right, height)), (width, 0))
    if below:
        row = filled.crop((0, height - 1, size[0], height))
        filled.paste(row.resize((size[0], below)), (0, height))
    return filled


def _fading(size: Size, x: int, y: int, factor: int) -> Image.Image:
    """What of a tile is seen: all but where it fades into those to its left and above."""
    mask = Image.new("L", size, "white")
    ramp = Image.linear_gradient("L")
    if y:
        mask.paste(ramp.resize((size[0], OVERLAP * factor)))
    if x:
        left = Image.new("L", size, "white")
        across = ramp.transpose(Image.Transpose.TRANSPOSE)
        left.paste(across.resize((OVERLAP * factor, size[1])))
        mask = ImageChops.multiply(mask, left)
    return mask
