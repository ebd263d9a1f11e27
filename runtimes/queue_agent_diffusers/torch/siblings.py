"""Pipelines of other classes around the parts of one."""

import inspect
from typing import Any, Final

import diffusers

library: Any = diffusers
"""diffusers ships annotations for some of its names only."""

_ASKED_FOR: Final = {"ChromaInpaintPipeline": {"guidance_embeds": False}}
"""What pipelines read of their transformer's configuration that it never has."""


def sibling(kind: str, pipeline: Any, **more: object) -> Any:
    """A pipeline of that class with the same parts, and `more`.

    `from_pipe` would convert the parts, which are shared, to one precision.
    """
    known = inspect.signature(getattr(library, kind).__init__).parameters
    parts = {**pipeline.config, **pipeline.components, **more}
    if kind in _ASKED_FOR:
        pipeline.transformer.register_to_config(**_ASKED_FOR[kind])
    made = getattr(library, kind)(**{name: parts[name] for name in known if name in parts})
    made.set_progress_bar_config(disable=True)
    return made
