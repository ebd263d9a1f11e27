"""Which of a server's files a job means by a name from another world. Pure functions."""

import posixpath
import re
from collections.abc import Sequence
from typing import Final

_HASH_SUFFIX: Final = re.compile(r"\s*\[[0-9a-f]{6,64}\]$")
_UPSCALER_FILES: Final = {
    "R-ESRGAN 4x+": "RealESRGAN_x4plus",
    "R-ESRGAN 4x+ Anime6B": "RealESRGAN_x4plus_anime_6B",
    "R-ESRGAN 2x+": "RealESRGAN_x2plus",
    "R-ESRGAN General 4xV3": "realesr-general-x4v3",
    "SwinIR 4x": "SwinIR_4x",
}
"""Names of upscalers in the Web UI, by the file that their authors publish."""


def match_file(name: str, files: Sequence[str]) -> str | None:
    """The file of that name: with or without folder, extension, hash and capitals."""
    wanted = without_hash(name)
    for normalize in (str, str.casefold, _stem, _base_stem):
        for file in files:
            if normalize(file.replace("\\", "/")) == normalize(wanted):
                return file
    return None


def without_hash(name: str) -> str:
    """A name without the short hash that the Web UI's titles end in, by slashes."""
    return _HASH_SUFFIX.sub("", name).replace("\\", "/")


def match_upscaler(name: str, files: Sequence[str]) -> str | None:
    """The upscaling model of that name in the Web UI's words or by its file."""
    return match_file(_UPSCALER_FILES.get(name, name), files)


def _stem(path: str) -> str:
    known = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".onnx")
    stem, extension = posixpath.splitext(path.casefold())
    return stem if extension in known else path.casefold()


def _base_stem(path: str) -> str:
    return _stem(posixpath.basename(path))
