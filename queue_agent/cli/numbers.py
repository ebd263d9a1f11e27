"""Options that are numbers with a fraction."""

import math
from typing import Any

import typer


def number(*flags: str, least: float, most: float | None = None, help: str) -> Any:  # noqa: A002
    """An option with bounds; `nan`, which is within all of them, and `inf` are refused."""
    return typer.Option(*flags, min=least, max=most, callback=_finite, help=help)


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number to reckon with.")
    return value
