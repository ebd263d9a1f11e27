"""Pipelines of other classes around the parts of one."""

import inspect
from typing import Any

import diffusers

library: Any = diffusers
"""diffusers ships annotations for some of its names only."""


def sibling(kind: str, pipeline: Any, **more: object) -> Any:
    """A pipeline of that class with the same parts, and `more`.

    `from_pipe` would convert the parts, which are shared, to one precision.
    """
    known = inspect.signature(getattr(library, kind).__init__).parameters
    parts = {**pipeline.config, **pipeline.components, **more}
    made = getattr(library, kind)(**{name: parts[name] for name in known if name in parts})
    made.set_progress_bar_config(disable=True)
    return made
