"""The Web UI's routes: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API.

They stand for one runtime, the default one or that of `X-Runtime`, and for one caller, whose jobs
alone they show and stop. Shapes are those of version 1.10.1. Of the server that a Web UI is, with
settings and memory of its own, there is none: what would change it for others is refused.
"""

from typing import Final

from queue_agent.gateway.compatibility.webui import (
    activity,
    generation,
    lists,
    options,
    png_info,
    process,
)

ROUTERS: Final = tuple(
    part.router for part in (generation, png_info, activity, lists, options, process)
)
