"""Adapter of the AUTOMATIC1111 Stable Diffusion Web UI, started with ``--api``.

https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API
"""

from queue_agent_runtimes.webui.adapter import WebUIRuntime

__all__ = ["WebUIRuntime"]
