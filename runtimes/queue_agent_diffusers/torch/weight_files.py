"""Which of a model's weight files are read: half precision where that is wanted and there.

Folders in the diffusers layout may hold weights twice, `unet/diffusion_pytorch_model.safetensors`
and `unet/diffusion_pytorch_model.fp16.safetensors`: the latter is half as much to fetch and read.
https://huggingface.co/docs/diffusers/using-diffusers/loading#checkpoint-variants
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

HALF: Final = {"float16": ("fp16",), "bfloat16": ("bf16", "fp16")}
"""Names of the variants that suit a dtype, the better one first."""
INDEX: Final = "model_index.json"
"""The file that names a model's components."""
_CHECKPOINT: Final = re.compile(
    r"(?:diffusion_pytorch_)?model(?:\.fp16|\.bf16)?(?:-\d+-of-\d+)?(?:\.fp16|\.bf16)?\.safetensors"
)
_PART: Final = re.compile(r"-\d+-of-\d+")
_VARIANT: Final = re.compile(r"\.(fp16|bf16)(?:-\d+-of-\d+)?\.safetensors$")


def variant_for(dtype: str, files: Iterable[str], components: Collection[str]) -> str | None:
    """The variant to ask diffusers for; None for the files without one.

    `files` are paths in the model's folder, `components` those of its folders that the pipeline
    uses. Where a component has nothing but one variant, that is taken for any dtype.
    """
    found: dict[str, set[str | None]] = {}
    for file in files:
        folder, _, name = file.partition("/")
        if folder in components and "/" not in name and name.endswith(".safetensors"):
            found.setdefault(folder, set()).add(variant_of(name))
    for variant in HALF.get(dtype, ()):
        if any(variant in variants for variants in found.values()):
            return variant
    alone = [variants for variants in found.values() if None not in variants]
    return next((min(filter(None, variants)) for variants in alone), None)


def read_files(files: Iterable[str], variant: str | None, components: Collection[str]) -> list[str]:
    """Those that a load with the variant reads; of a component without it, those without any."""
    found: dict[str, dict[str | None, list[str]]] = {}
    for file in files:
        folder, _, name = file.partition("/")
        if folder in components and "/" not in name and name.endswith(".safetensors"):
            found.setdefault(folder, {}).setdefault(variant_of(name), []).append(file)
    return [
        file
        for by_variant in found.values()
        for file in by_variant.get(variant, by_variant.get(None, []))
    ]


def weight_bytes(sizes: Mapping[str, int], variant: str | None, components: Collection[str]) -> int:
    """Bytes that a load with the variant reads."""
    return sum(sizes[file] for file in read_files(sizes, variant, components))


def checkpoint_files(files: Sequence[Path]) -> list[Path]:
    """Those of a component that the libraries read: one file, or all parts of one.

    Others lie beside them at times, such as `diffusion_pytorch_model.non_ema.safetensors`.

    Raises:
        ValueError: it cannot be told which these are.
    """
    found = [file for file in files if _CHECKPOINT.fullmatch(file.name)]
    parts = [file for file in found if _PART.search(file.name)]
    if not found or (len(found) > 1 and parts != found):
        raise ValueError("its files are not named as the libraries do")
    return found


def variant_of(name: str) -> str | None:
    """The variant that a file's name tells."""
    match = _VARIANT.search(name)
    return match[1] if match else None
