"""The bundled diffusers runtime: a server of the OpenAI dialects for images and videos.

It has beyond them samplers, LoRAs for each request, progress by step, previews of images, and
cancellation at the next step.
"""

from queue_agent_runtimes.bundled.adapter import BundledRuntime

__all__ = ["BundledRuntime"]
