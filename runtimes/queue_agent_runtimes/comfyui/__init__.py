"""The adapter of ComfyUI: any workflow, and portable jobs as workflows built in code."""

from queue_agent_runtimes.comfyui.adapter import ComfyUIRuntime

__all__ = ["ComfyUIRuntime"]
