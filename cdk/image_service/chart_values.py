"""The values of `charts/queue-agent`: its own, and how others are laid over them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).resolve().parents[2] / "charts" / "queue-agent"

Values = dict[str, Any]


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Values:
    """Values laid over others as Helm does: mappings are merged, all else is replaced."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        nested = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(result[key], value) if nested else value
    return result


def value_of(values: Mapping[str, Any], *path: str) -> Any:
    """What these values say at the path; None where they say nothing."""
    found: Any = values
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


@cache
def defaults() -> Values:
    """The chart's own values; not to be changed."""
    values: Values = yaml.safe_load((CHART / "values.yaml").read_text())
    return values
