"""Lines and words as pictures: SVG, and the same as PNG."""

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw, ImageFont

COLOURS: Final = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")
WIDTH: Final = 800
HEIGHT: Final = 260
_MARGIN: Final = 60
_SHARP: Final = 2
"""Dots of a PNG for each unit of the picture."""
_FONT: Final = 12
_ANCHORS: Final = {"start": "ls", "middle": "ms", "end": "rs"}
"""SVG's words in Pillow's."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class DrawnLine:
    points: tuple[Point, ...]
    colour: str = "#444"

    def svg(self) -> str:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)
        return f'<polyline points="{places}" fill="none" stroke="{self.colour}"/>'

    def draw(self, canvas: ImageDraw.ImageDraw) -> None:
        line = [(x * _SHARP, y * _SHARP) for x, y in self.points]
        canvas.line(line, fill=self.colour, width=_SHARP)


@dataclass(frozen=True, slots=True)
class DrawnText:
    at: Point
    text: str
    anchor: Literal["start", "middle", "end"]
    colour: str = "#222"

    def svg(self) -> str:
        x, y = self.at
        place = f'x="{x:.0f}" y="{y:.0f}" text-anchor="{self.anchor}" fill="{self.colour}"'
        return f"<text {place}>{escape(self.text)}</text>"

    def draw(self, canvas: ImageDraw.ImageDraw) -> None:
        place = (self.at[0] * _SHARP, self.at[1] * _SHARP)
        font = ImageFont.load_default(_FONT * _SHARP)
        canvas.text(place, self.text, fill=self.colour, font=font, anchor=_ANCHORS[self.anchor])


@dataclass(frozen=True, slots=True)
class Picture:
    """Lines and words on white, in units of their own."""

    width: int
    height: int
    shapes: Sequence[DrawnLine | DrawnText]

    def svg(self) -> str:
        size = f'width="{self.width}" height="{self.height}"'
        font = f'font-family="sans-serif" font-size="{_FONT}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>'
        white = '<rect width="100%" height="100%" fill="white"/>'
        return "\n".join([head, white, *(shape.svg() for shape in self.shapes), "</svg>\n"])

    def png(self) -> bytes:
        image = Image.new("RGB", (self.width * _SHARP, self.height * _SHARP), "white")
        canvas = ImageDraw.Draw(image)
        for shape in self.shapes:
            shape.draw(canvas)
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()


@dataclass(frozen=True, slots=True)
class DrawnPanel:
    """Axes from zero, in the picture's own units below."""

    title: str
    top: float
    across: str
    most_across: float
    most_up: float

    def place(self, point: Point) -> Point:
        across = _MARGIN + (WIDTH - 2 * _MARGIN) * point[0] / (self.most_across or 1)
        up = self.top + HEIGHT - (HEIGHT - _MARGIN) * point[1] / (self.most_up or 1)
        return across, up

    def line(self, points: Iterable[Point], colour: str) -> DrawnLine:
        return DrawnLine(tuple(map(self.place, points)), colour)

    def axes(self) -> Iterator[DrawnLine | DrawnText]:
        foot, right = self.top + HEIGHT, WIDTH - _MARGIN
        yield DrawnText((_MARGIN, self.top + _MARGIN - 14), self.title, "start")
        yield DrawnLine(((_MARGIN, self.top + _MARGIN), (_MARGIN, foot), (right, foot)))
        for share in (0, 0.25, 0.5, 0.75, 1):
            across, up = share * self.most_across, share * self.most_up
            x, y = self.place((across, up))
            yield DrawnText((x, foot + 16), f"{across:,.4g}", "middle")
            yield DrawnText((_MARGIN - 6, y + 4), f"{up:,.4g}", "end")
        yield DrawnText((right + 6, foot + 4), self.across, "start")


def round_up(value: float) -> float:
    """To one digit that is a 1, 2, 4 or 8, and noughts."""
    power = 10 ** math.floor(math.log10(value)) if value > 0 else 1
    return next(digit * power for digit in (1, 2, 4, 8, 10) if digit * power >= value)


def daily(
    title: str,
    first: date,
    last: date,
    lines: Sequence[tuple[str, str, Mapping[date, float]]],
) -> Picture:
    """Values a day, from the first to the last: a name, a colour and the values of each line."""
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    most = max((value for _, _, values in lines for value in values.values()), default=0.0)
    panel = DrawnPanel(title, 0, f"days from {first}", len(days), round_up(most))
    shapes: list[DrawnLine | DrawnText] = [*panel.axes()]
    for number, (name, colour, values) in enumerate(lines):
        steps = [
            (place + more, values.get(day, 0.0))
            for place, day in enumerate(days)
            for more in (0, 1)
        ]
        shapes.append(panel.line([(0.0, 0.0), *steps, (len(days), 0.0)], colour))
        shapes.append(DrawnText((180 + 110 * number, 46), name, "start", colour))
    return Picture(WIDTH + 90, HEIGHT + 40, shapes)
