"""Which of a model's weight files are read: half precision where that is wanted and there.

Folders in the diffusers layout may hold weights twice, `unet/diffusion_pytorch_model.safetensors`
and `unet/diffusion_pytorch_model.fp16.safetensors`: the latter is half as much to fetch and read.
https://huggingface.co/docs/diffusers/using-diffusers/loading#checkpoint-variants
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

HALF: Final = {"float16": ("fp16",), "bfloat16": ("bf16", "fp16")}
"""Names of the variants that suit a dtype, the better one first."""
INDEX: Final = "model_index.json"
"""The file that names a model's components."""
PICKLES: Final = frozenset({".ckpt", ".pt", ".pth", ".bin"})
"""Ends of files that can run code when they are read."""
_WEIGHTS: Final = PICKLES | {".safetensors", ".h5", ".msgpack", ".onnx", ".onnx_data"}
"""Ends of files that hold weights: of these, a load reads nothing but `.safetensors`."""
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


def is_weights(file: str) -> bool:
    """Whether a file holds weights, by its name."""
    return PurePosixPath(file).suffix in _WEIGHTS


def index_components(index: str | bytes) -> Collection[str]:
    """The components that a model's index says it has; of some it says that it has none.

    Raises:
        ValueError: it is no JSON.
    """
    found: object = json.loads(index)
    if not isinstance(found, dict):
        return ()
    return [name for name, value in found.items() if isinstance(value, list) and any(value)]


def needed_files(files: Collection[str], dtype: str, index: str | bytes | None) -> list[str]:
    """Those of a model's files that a load in that precision reads, and all that hold no weights.

    Without an index they are the one checkpoint that lies there, whatever lies beside it.

    Raises:
        ValueError: it has neither.
    """
    if index is None:
        return [_only_checkpoint(files)]
    components = index_components(index)
    weights = read_files(files, variant_for(dtype, files, components), components)
    others = [file for file in files if not is_weights(file)]
    return sorted([*weights, *others])


def _only_checkpoint(files: Collection[str]) -> str:
    for ends in (frozenset({".safetensors"}), PICKLES):
        found = [file for file in files if PurePosixPath(file).suffix in ends]
        if len(found) == 1:
            return found[0]
        if found:
            break
    raise ValueError(f"is no model: it has no {INDEX}, and no checkpoint that is the only one.")


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
