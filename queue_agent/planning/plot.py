"""Outcomes as a picture: pods over time, and how long which share of the jobs waited."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET
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

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Panel:
    """Axes from zero, in the picture's own units below."""

    title: str
    top: float
    across: str
    most_across: float
    most_up: float

    def place(self, point: Point) -> str:
        across = _MARGIN + (_WIDTH - 2 * _MARGIN) * point[0] / (self.most_across or 1)
        up = self.top + _HEIGHT - (_HEIGHT - _MARGIN) * point[1] / (self.most_up or 1)
        return f"{across:.1f},{up:.1f}"

    def axes(self) -> Iterator[str]:
        foot, right = self.top + _HEIGHT, _WIDTH - _MARGIN
        yield _text(_MARGIN, self.top + _MARGIN - 14, self.title, "start")
        yield _line([f"{_MARGIN},{self.top + _MARGIN}", f"{_MARGIN},{foot}", f"{right},{foot}"])
        for share in (0, 0.25, 0.5, 0.75, 1):
            across, up = share * self.most_across, share * self.most_up
            x, y = self.place((across, up)).split(",")
            yield _text(float(x), foot + 16, f"{across:,.4g}", "middle")
            yield _text(_MARGIN - 6, float(y) + 4, f"{up:,.4g}", "end")
        yield _text(right + 6, foot + 4, self.across, "start")


def svg(outcomes: Sequence[FleetOutcome]) -> str:
    """The picture of some outcomes, a colour for each."""
    fleets = [outcome for outcome in outcomes if outcome.pods_over_time]
    hours = max((outcome.pods_over_time[-1][0] for outcome in fleets), default=0) / 3600
    pods = max((outcome.most_pods for outcome in fleets), default=0)
    longest = max(outcome.waits[-1] for outcome in outcomes)
    panels = (
        _Panel("pods", 0, "hours", max(hours, 0.01), _round_up(pods)),
        _Panel("seconds that jobs waited", _HEIGHT + 30, "% of jobs", 100, _round_up(longest)),
    )
    lines = [line for panel in panels for line in panel.axes()]
    for outcome, colour in zip(outcomes, _COLOURS * len(outcomes), strict=False):
        lines.append(_line(map(panels[0].place, _thinned(_steps(outcome))), colour))
        lines.append(_line(map(panels[1].place, _shares(outcome)), colour))
    for number, outcome in enumerate(outcomes):
        colour = _COLOURS[number % len(_COLOURS)]
        lines.append(_text(180 + 120 * number, 46, outcome.policy, "start", colour))
    size = f'width="{_WIDTH + 40}" height="{2 * _HEIGHT + 70}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *lines, "</svg>\n"])


def png(picture: str) -> bytes:
    """What `svg` made, in dots."""
    drawn = ET.fromstring(picture)  # noqa: S314  our own
    size = (int(drawn.attrib["width"]) * _SHARP, int(drawn.attrib["height"]) * _SHARP)
    image = Image.new("RGB", size, "white")
    canvas = ImageDraw.Draw(image)
    font = ImageFont.load_default(12 * _SHARP)
    anchors = {"start": "ls", "middle": "ms", "end": "rs"}
    for shape in drawn:
        given = shape.attrib
        if shape.tag.endswith("polyline"):
            places = [place.split(",") for place in given["points"].split()]
            line = [(float(x) * _SHARP, float(y) * _SHARP) for x, y in places]
            canvas.line(line, fill=given["stroke"], width=_SHARP)
        elif shape.tag.endswith("text"):
            place = (float(given["x"]) * _SHARP, float(given["y"]) * _SHARP)
            anchor = anchors[given["text-anchor"]]
            canvas.text(place, shape.text or "", fill=given["fill"], font=font, anchor=anchor)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


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


def _line(places: "Iterator[str] | Sequence[str]", colour: str = "#444") -> str:
    return f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#222") -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{escape(text)}</text>"
