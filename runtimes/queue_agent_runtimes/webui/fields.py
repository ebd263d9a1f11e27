"""What a job's own fields get wrong, told before the Web UI stumbles over it: pure functions.

1.10.1 answers most faults of a job with 500 and one of Python's exceptions (`tests/recordings`), as
it answers its own, and takes some without a word. What would make it reserve more memory than it
has ends its process instead.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from queue_agent.wire.errors import Rejected
from queue_agent.wire.portable import MAX_SEED

__all__ = ["JsonObject", "check_generation", "check_upscaling", "without_nulls"]

JsonObject = dict[str, JsonValue]

LONGEST_SIDE: Final = 16384
"""Pixels, as in the portable form."""
MOST_PIXELS: Final = LONGEST_SIDE**2
"""Of all the images of a batch."""
MOST_IMAGES: Final = 10_000
"""Of a job: their seeds and prompts are made up before the first."""
MOST_STEPS: Final = 100_000
LARGEST_FACTOR: Final = 16


@dataclass(frozen=True)
class _Range:
    """What a number may be."""

    least: float
    most: float
    whole: bool = True


_SIDE: Final = _Range(8, LONGEST_SIDE)
_SIDE_OR_NONE: Final = _Range(-1, LONGEST_SIDE)
_COUNT: Final = _Range(1, MOST_IMAGES)
_SEED: Final = _Range(-(2**63), MAX_SEED)
_RANGES: Final[Mapping[str, _Range]] = {
    "steps": _Range(1, MOST_STEPS),
    "hr_second_pass_steps": _Range(0, MOST_STEPS),
    "batch_size": _COUNT,
    "n_iter": _COUNT,
    "width": _SIDE,
    "height": _SIDE,
    "hr_resize_x": _SIDE_OR_NONE,
    "hr_resize_y": _SIDE_OR_NONE,
    "firstphase_width": _SIDE_OR_NONE,
    "firstphase_height": _SIDE_OR_NONE,
    "seed_resize_from_w": _SIDE_OR_NONE,
    "seed_resize_from_h": _SIDE_OR_NONE,
    "hr_scale": _Range(0, LARGEST_FACTOR, whole=False),
    "seed": _SEED,
    "subseed": _SEED,
    "denoising_strength": _Range(0, 1, whole=False),
}
_UPSCALING: Final[Mapping[str, _Range]] = {
    "upscaling_resize": _Range(0, LARGEST_FACTOR, whole=False),
    "upscaling_resize_w": _Range(1, LONGEST_SIDE),
    "upscaling_resize_h": _Range(1, LONGEST_SIDE),
}


def without_nulls(value: JsonValue) -> JsonValue:
    """The value without the fields that are null, at any depth.

    They count as absent. The places of a list count (arguments of scripts), so that nulls stay
    in lists, other than in those of images, styles and LoRAs.
    """
    if isinstance(value, dict):
        return {
            name: _without_nulls_in(name, item) for name, item in value.items() if item is not None
        }
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _without_nulls_in(name: str, value: JsonValue) -> JsonValue:
    if name in {"init_images", "imageList", "styles", "loras"} and isinstance(value, list):
        value = [item for item in value if item is not None]
    return without_nulls(value)


def check_generation(request: JsonObject, *, of_images: bool) -> None:
    """Refuse a request of txt2img or, `of_images`, img2img that cannot be done.

    What has a wrong type is left to the server, which refuses it in words.

    Raises:
        Rejected: with each fault in words (type ``invalid_content``).
    """
    _refuse([*_out_of_range(request, _RANGES)])
    others = _faults_of_init_images(request) if of_images else _faults_of_hires(request)
    _refuse([*_too_much(request), *others])


def check_upscaling(request: JsonObject, *, of_several: bool) -> None:
    """Refuse a request of one of the extras that cannot be done; raises like `check_generation`."""
    faults = [*_out_of_range(request, _UPSCALING)]
    name = "imageList" if of_several else "image"
    if not request.get(name):
        faults.append(f"{name}: there is no image to work on")
    _refuse(faults)


def _refuse(faults: list[str]) -> None:
    if faults:
        raise Rejected("; ".join(faults), type="invalid_content")


def _out_of_range(request: JsonObject, ranges: Mapping[str, _Range]) -> Iterator[str]:
    for name, allowed in ranges.items():
        number = _number(request.get(name))
        if number is None:
            continue
        if not -math.inf < number < math.inf:  # integers may be too large for a float
            yield f"{name}: must be a number, not {number:g}"
        elif allowed.whole and number != int(number):
            yield f"{name}: must be a whole number, not {number:g}"
        elif not allowed.least <= number <= allowed.most:
            yield f"{name}: must be from {_shown(allowed.least)} to {_shown(allowed.most)}"


def _shown(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


def _too_much(request: JsonObject) -> Iterator[str]:
    batch, batches = _count(request, "batch_size"), _count(request, "n_iter")
    if batch * batches > MOST_IMAGES:
        yield f"batch_size, n_iter: {batch * batches:g} images are more than {MOST_IMAGES}"
    width = _number(request.get("width")) or 512
    height = _number(request.get("height")) or 512
    scale = 1.0
    if request.get("enable_hr"):
        given = _number(request.get("hr_scale"))
        scale = 2.0 if given is None else given
    large_width = max(width * scale, _number(request.get("hr_resize_x")) or 0)
    large_height = max(height * scale, _number(request.get("hr_resize_y")) or 0)
    if max(large_width, large_height) > LONGEST_SIDE:
        yield f"width, height: no side of the image may be over {LONGEST_SIDE}"
    elif large_width * large_height * batch > MOST_PIXELS:
        yield f"width, height, batch_size: a batch may have {MOST_PIXELS} pixels"


def _faults_of_hires(request: JsonObject) -> Iterator[str]:
    if request.get("firstpass_image") is not None:
        yield "firstpass_image: is for the Web UI's own page, its API cannot take it"
    if not request.get("enable_hr") or request.get("infotext"):
        return
    if request.get("denoising_strength") is None:
        yield "denoising_strength: is needed with enable_hr"


def _faults_of_init_images(request: JsonObject) -> Iterator[str]:
    given = request.get("init_images")
    if given is None or given == []:
        yield "init_images: there is no image to begin with"
        return
    batch = _count(request, "batch_size")
    count = len(given) if isinstance(given, list) else 1
    if count > 1 and count != batch:
        yield (
            f"init_images: {count} images for batches of {batch:g}; "
            "give one, or as many as batch_size"
        )


def _count(request: JsonObject, name: str) -> float:
    number = _number(request.get(name))
    return 1 if number is None else number


def _number(value: JsonValue) -> float | None:
    """A number as the server would read it; None where it would refuse the value itself."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return value
