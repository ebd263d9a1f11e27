"""The tiny model: each part of Stable Diffusion 1.x, trained on drawings (`make tiny-model`)."""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "model"
"""In diffusers' layout."""
