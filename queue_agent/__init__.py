"""Asynchronous, reliable image generation in front of any Stable Diffusion runtime."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("sd-queue-agent")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
