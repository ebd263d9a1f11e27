"""What the families of `tiny_families` can begin with, and requests that they can do."""

from dataclasses import replace
from typing import Any, Final

from PIL import Image

from queue_agent.testing import sample_png
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.http.images import decode_image

SIDE: Final = 64
PHOTO: Final = decode_image(sample_png(), field="image").resize((SIDE, SIDE))
MASK: Final = Image.new("L", (SIDE, SIDE))
MASK.paste(255, (0, 0, SIDE // 2, SIDE))
STARTS: Final[dict[str, dict[str, Any]]] = {
    "text": {},
    "image": {"image": PHOTO},
    "mask": {"image": PHOTO, "mask": MASK},
}
FAMILIES: Final = {
    "Qwen-Image-Edit": ("image", "mask"),
    "Qwen-Image-Edit-Plus": ("image",),
    "Chroma": ("text", "image", "mask"),
    "Sana": ("text",),
    "Sana Sprint": ("text",),
    "CogView3+": ("text",),
    "Ovis-Image": ("text",),
    "AuraFlow": ("text",),
    "Lumina 2": ("text",),
    "CogView4": ("text",),
    "HunyuanImage": ("text",),
    "HiDream": ("text",),
}
OF_THEIR_OWN: Final = {"HiDream": SIDE // 2}
"""Sides of images of families that choose them."""


def simple(name: str, **changes: Any) -> ImageRequest:
    """One that the family can do."""
    start: dict[str, Any] = STARTS[FAMILIES[name][0]]
    request = ImageRequest("a cat", seed=7, width=SIDE, height=SIDE, steps=3, **start)
    return replace(request, **changes)
