"""Outcomes as a picture: pods over time, and how long which share of the jobs waited."""

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw, ImageFont

from queue_agent.planning.fleet import FleetOutcome

_COLOURS: Final = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")
_WIDTH: Final = 800
_HEIGHT: Final = 260
_MARGIN: Final = 60
_SHARP: Final = 2
"""Dots of a PNG for each unit of the picture."""
_POINTS: Final = 2_000
"""Of a line; more are not seen."""

_FONT: Final = 12
_ANCHORS: Final = {"start": "ls", "middle": "ms", "end": "rs"}
"""SVG's words in Pillow's."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Line:
    points: tuple[Point, ...]
    colour: str = "#444"

    def svg(self) -> str:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)
        return f'<polyline points="{places}" fill="none" stroke="{self.colour}"/>'

    def draw(self, canvas: ImageDraw.ImageDraw) -> None:
        line = [(x * _SHARP, y * _SHARP) for x, y in self.points]
        canvas.line(line, fill=self.colour, width=_SHARP)


@dataclass(frozen=True, slots=True)
class _Text:
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
    shapes: Sequence[_Line | _Text]

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
class _Panel:
    """Axes from zero, in the picture's own units below."""

    title: str
    top: float
    across: str
    most_across: float
    most_up: float

    def place(self, point: Point) -> Point:
        across = _MARGIN + (_WIDTH - 2 * _MARGIN) * point[0] / (self.most_across or 1)
        up = self.top + _HEIGHT - (_HEIGHT - _MARGIN) * point[1] / (self.most_up or 1)
        return across, up

    def line(self, points: Iterable[Point], colour: str) -> _Line:
        return _Line(tuple(map(self.place, points)), colour)

    def axes(self) -> Iterator[_Line | _Text]:
        foot, right = self.top + _HEIGHT, _WIDTH - _MARGIN
        yield _Text((_MARGIN, self.top + _MARGIN - 14), self.title, "start")
        yield _Line(((_MARGIN, self.top + _MARGIN), (_MARGIN, foot), (right, foot)))
        for share in (0, 0.25, 0.5, 0.75, 1):
            across, up = share * self.most_across, share * self.most_up
            x, y = self.place((across, up))
            yield _Text((x, foot + 16), f"{across:,.4g}", "middle")
            yield _Text((_MARGIN - 6, y + 4), f"{up:,.4g}", "end")
        yield _Text((right + 6, foot + 4), self.across, "start")


def picture(outcomes: Sequence[FleetOutcome]) -> Picture:
    """The picture of some outcomes, a colour for each."""
    fleets = [outcome for outcome in outcomes if outcome.pods_over_time]
    hours = max((outcome.pods_over_time[-1][0] for outcome in fleets), default=0) / 3600
    pods = max((outcome.most_pods for outcome in fleets), default=0)
    longest = max(outcome.waits[-1] for outcome in outcomes)
    over_time = _Panel("pods", 0, "hours", max(hours, 0.01), _round_up(pods))
    waits = _Panel("seconds that jobs waited", _HEIGHT + 30, "% of jobs", 100, _round_up(longest))
    shapes = [*over_time.axes(), *waits.axes()]
    for number, outcome in enumerate(outcomes):
        colour = _COLOURS[number % len(_COLOURS)]
        shapes.append(over_time.line(_thinned(_steps(outcome)), colour))
        shapes.append(waits.line(_shares(outcome), colour))
        shapes.append(_Text((180 + 120 * number, 46), outcome.policy, "start", colour))
    return Picture(_WIDTH + 40, 2 * _HEIGHT + 70, shapes)


def _steps(outcome: FleetOutcome) -> Iterator[Point]:
    before = 0
    for at, pods in outcome.pods_over_time:
        yield at / 3600, before
        yield at / 3600, pods
        before = pods


def _shares(outcome: FleetOutcome) -> Iterator[Point]:
    for tenth in range(1001):
        yield tenth / 10, outcome.wait(tenth / 10)


def _thinned(points: Iterator[Point]) -> Sequence[Point]:
    """The highest of each stretch, where there are too many."""
    given = list(points)
    stretch = math.ceil(len(given) / _POINTS)
    return [
        max(given[start : start + stretch], key=lambda point: point[1])
        for start in range(0, len(given), max(1, stretch))
    ]


def _round_up(value: float) -> float:
    """To one digit that is a 1, 2, 4 or 8, and noughts."""
    power = 10 ** math.floor(math.log10(value)) if value > 0 else 1
    return next(digit * power for digit in (1, 2, 4, 8, 10) if digit * power >= value)
