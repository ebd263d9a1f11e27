"""Bringing a model from a folder, a file or the hub onto a device."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import diffusers
import torch
import transformers
from safetensors import safe_open

from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.engine.model import Model
from queue_agent_diffusers.errors import ModelUnreadable, WeightsTooLarge
from queue_agent_diffusers.options import GIB, MIB, Options
from queue_agent_diffusers.tiny import FOLDER
from queue_agent_diffusers.torch.architectures import architecture_of
from queue_agent_diffusers.torch.architectures.architecture import Architecture
from queue_agent_diffusers.torch.architectures.video import VideoArchitecture
from queue_agent_diffusers.torch.batched import BatchedModel
from queue_agent_diffusers.torch.components import pipeline_class, read_components
from queue_agent_diffusers.torch.conditioning import Conditioning, load_conditioning
from queue_agent_diffusers.torch.devices import choose_device, choose_dtype, dtype_name
from queue_agent_diffusers.torch.hub import fetch_from_hub
from queue_agent_diffusers.torch.lora_cache import LoraCache
from queue_agent_diffusers.torch.memory import (
    default_budget,
    is_out_of_memory,
    release_memory,
)
from queue_agent_diffusers.torch.model_cache import fetch_model
from queue_agent_diffusers.torch.object_storage import is_stored
from queue_agent_diffusers.torch.offload import check_offload, offload
from queue_agent_diffusers.torch.pipeline_arguments import Pipeline
from queue_agent_diffusers.torch.pipeline_model import PipelineModel
from queue_agent_diffusers.torch.speed import Accelerated, accelerate
from queue_agent_diffusers.torch.streamed_weights import StreamedWeights, streamed_weights
from queue_agent_diffusers.torch.transformer import TransformerModel
from queue_agent_diffusers.torch.unet import UNetModel, can_batch
from queue_agent_diffusers.torch.unreadable import UNREADABLE, raise_if_of_the_device
from queue_agent_diffusers.torch.upscaling import UpscalerModel, can_upscale
from queue_agent_diffusers.torch.video import VideoModel
from queue_agent_diffusers.torch.video_pipeline_model import VideoPipelineModel, makes_videos
from queue_agent_diffusers.torch.weight_files import (
    INDEX,
    PICKLES,
    index_components,
    read_files,
    variant_for,
    weight_bytes,
)

library: Any = diffusers
"""diffusers ships annotations for some of its names only."""

TINY: Final = "tiny"
SMALL_BATCH: Final = 4
"""Images in a step on a CPU, and of the large transformers."""
VIDEO_BATCH: Final = 2
"""Videos of the natural size in a step: one alone keeps a device busy, and takes much memory."""
LARGE_LATENT: Final = 96
"""Side of a latent above which a model counts as one for large images."""

_UNSHARED: Final = (
    "one request at a time, and no LoRAs of requests, previews, step caches or checkpoints"
)
"""What is told of a pipeline of which nothing is known."""

_OFFLOADING: Final = "; --offload model or sequential leaves some of them in the host's."
_SINGLE: Final = "safetensors"
"""Who reads a checkpoint that holds all components; diffusers takes none read by others."""

_log = logging.getLogger(__name__)


def load_model(
    model: str, options: Options | None = None, progress: LoadProgress | None = None
) -> Model:
    """Load a model for serving.

    `model` is a folder in the diffusers layout, one ``.safetensors`` checkpoint of Stable
    Diffusion 1.x, 2.x or XL, an ``s3://`` or ``nats://`` prefix with either, an id of the Hugging
    Face hub (with ``@REVISION``, if it is to stay as it is), or ``tiny``: the one that comes with
    the package and knows a few shapes, to try things out with.
    Pickled weights are refused unless the operator allows them. The device is cuda, mps or cpu,
    the first there is; the dtype float16 on cuda, else float32. Where weights are there in half
    precision, too, those files are read that suit the dtype. `progress` is told how far it is.

    Raises:
        ModelNotFound, ModelUnreadable, DeviceUnavailable: with what to change.
    """
    options = options or Options()
    progress = progress or LoadProgress(model)
    with _weights_watched(options):
        return _model(model, options, progress)


def _model(model: str, options: Options, progress: LoadProgress) -> Model:
    pipeline = load_pipeline(model, options, progress)
    if can_upscale(pipeline):
        return UpscalerModel(pipeline)
    conditioning = load_conditioning(pipeline, options)
    architecture = architecture_of(pipeline)
    if architecture is None and (makes_videos(pipeline) or not can_batch(pipeline)):
        lacks = f"none, by {type(pipeline).__name__}: {_UNSHARED}"
        progress.told = {**progress.told, "shared-steps": lacks}
        _log.warning("model %s: shared steps: %s", model, lacks)
        if makes_videos(pipeline):
            return VideoPipelineModel(pipeline)
        return PipelineModel(pipeline, conditioning)
    batched, made = batched_model(pipeline, architecture, options, conditioning)
    batched.checkpoint_limit = options.checkpoint_limit * MIB
    progress.told = {**progress.told, **made.told}
    return batched


@contextmanager
def _weights_watched(options: Options) -> Iterator[None]:
    """Raise `WeightsTooLarge` where the block runs out of memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        release_memory()
        device = choose_device(options.device)
        raise WeightsTooLarge(
            f"The weights do not fit into the memory of {device}"
            + ("." if device.type == "cpu" else _OFFLOADING)
        ) from error


def batched_model(
    pipeline: Any,
    architecture: Architecture | None,
    options: Options,
    conditioning: Conditioning | None = None,
    *,
    backend: Any = "inductor",
) -> tuple[BatchedModel, Accelerated]:
    """The model that shares steps, as fast as the options ask for, and what was done for that.

    `backend` is torch.compile's.
    """
    given: dict[str, Any] = {
        "loras": LoraCache(options.lora_dir),
        "conditioning": conditioning,
        "quality": options.quality,
    }
    batched: BatchedModel
    if architecture is None:
        made = accelerate(pipeline, options, backend=backend)
        most = options.max_batch or _default_batch(pipeline)
        given |= {"network": made.networks["unet"], "buckets": made.buckets}
        batched = UNetModel(pipeline, max_batch=most, **given)
    else:
        same_shapes = not architecture.layout.listed
        made = accelerate(
            pipeline, options, names=architecture.networks, same_shapes=same_shapes, backend=backend
        )
        given |= {"networks": made.networks, "buckets": made.buckets}
        if isinstance(architecture, VideoArchitecture):
            most = options.max_batch or VIDEO_BATCH
            batched = VideoModel(pipeline, architecture, max_batch=most, **given)
        else:
            most = options.max_batch or SMALL_BATCH
            batched = TransformerModel(pipeline, architecture, max_batch=most, **given)
    try:
        batched.warm_up(made.warm[:1] if isinstance(batched, VideoModel) else made.warm)
    except Exception as error:  # jobs of other sizes may work, and tell if not
        _log.warning("the warm-up failed: %s: %s", type(error).__name__, error)
    return batched, made


def load_pipeline(
    model: str, options: Options | None = None, progress: LoadProgress | None = None
) -> Pipeline:
    """The pipeline itself, on its device; see `load_model`."""
    options = options or Options()
    target = choose_device(options.device)
    check_offload(options, target)
    precision = choose_dtype(options.dtype, target)
    _silence()
    progress = progress or LoadProgress(model)
    with streamed_weights(model, options, dtype_name(precision), progress) as streamed:
        return _load(model, options, target, precision, progress, streamed)


def _load(
    model: str,
    options: Options,
    target: torch.device,
    precision: torch.dtype,
    progress: LoadProgress,
    streamed: StreamedWeights | None,
) -> Pipeline:
    found, variant = _find(model, precision, options, progress, streamed)
    with progress.reading(_weights(found, variant, streamed)):
        if found.is_dir():
            to = target if options.offload == "none" else torch.device("cpu")
            pipeline, told = _read_folder(
                found, precision, variant, to, options, progress, streamed
            )
        else:
            pipeline = _read_file(found, precision, allow_pickles=options.allow_pickles)
            told = _SINGLE if options.weights_by == "safetensors" else f"{_SINGLE} (a single file)"
        progress.told = {"weights-by": told}
        pipeline.set_progress_bar_config(disable=True)
        return _place(pipeline, options, target)


def _place(pipeline: Any, options: Options, device: torch.device) -> Pipeline:
    """Where each part belongs."""
    placed: Pipeline = pipeline
    architecture = architecture_of(pipeline)
    if options.offload == "none":
        return placed.to(device)
    if architecture is not None or can_batch(pipeline):
        offload(
            pipeline, options.offload, device, architecture.networks if architecture else ("unet",)
        )
    elif options.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)
    return placed


def memory_budget(options: Options) -> int:
    """Bytes that the weights of loaded models may take together."""
    if options.memory_limit is not None:
        return int(options.memory_limit * GIB)
    return default_budget(choose_device(options.device))


def _default_batch(pipeline: Any) -> int:
    if pipeline.vae.device.type != "cuda":
        return SMALL_BATCH
    return 8 if pipeline.unet.config.sample_size > LARGE_LATENT else 16


def _find(
    model: str,
    dtype: torch.dtype,
    options: Options,
    progress: LoadProgress,
    streamed: StreamedWeights | None,
) -> tuple[Path, str | None]:
    """The folder or file on this machine, fetched if need be, and the variant to read."""
    path = FOLDER if model == TINY else Path(model).expanduser()
    if streamed is not None:
        path = streamed.folder
    elif is_stored(model):
        path = fetch_model(
            model,
            options.cache_dir,
            region=options.region,
            dtype=dtype_name(dtype),
            progress=progress,
        )
    name = dtype_name(dtype)
    if path.is_dir():
        return path, variant_for(name, _sizes(path, streamed), _components(path))
    if path.is_file():
        return path, None
    return fetch_from_hub(model, name, progress)


def _weights(path: Path, variant: str | None, streamed: StreamedWeights | None) -> int:
    """Bytes of the weights that are read."""
    if path.is_file():
        return path.stat().st_size
    return weight_bytes(_sizes(path, streamed), variant, _components(path))


def _sizes(folder: Path, streamed: StreamedWeights | None = None) -> Mapping[str, int]:
    if streamed is not None:
        return streamed.sizes
    return {
        file.relative_to(folder).as_posix(): file.stat().st_size
        for file in folder.glob("*/*.safetensors")
    }


def _components(folder: Path) -> Collection[str]:
    """What the model's index names."""
    try:
        return index_components((folder / INDEX).read_bytes())
    except FileNotFoundError:
        raise ModelUnreadable(f"{folder} is no diffusers model: it has no {INDEX}.") from None
    except (OSError, ValueError) as error:
        raise ModelUnreadable(f"{folder} cannot be loaded: {error}") from error


def _read_folder(
    path: Path,
    dtype: torch.dtype,
    variant: str | None,
    device: torch.device,
    options: Options,
    progress: LoadProgress,
    streamed: StreamedWeights | None,
) -> tuple[Pipeline, str]:
    """The pipeline, and who has read its weights."""
    try:
        files = read_files(_sizes(path, streamed), variant, _components(path))
        read = read_components(path, files, dtype, device, options.weights_by, progress, streamed)
        pipeline: Pipeline = pipeline_class(path).from_pretrained(
            path,
            dtype=dtype,
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            **read.found,
        )
    except UNREADABLE as error:
        raise_if_of_the_device(error)
        raise ModelUnreadable(f"{path} cannot be loaded: {error}") from error
    return pipeline, read.told


def _read_file(path: Path, dtype: torch.dtype, *, allow_pickles: bool) -> Pipeline:
    pickled = path.suffix in PICKLES
    if pickled and not allow_pickles:
        raise ModelUnreadable(
            f"{path} holds pickled weights, which are refused: convert it to .safetensors, or "
            "start the server with --allow-pickles."
        )
    if not pickled and path.suffix != ".safetensors":
        raise ModelUnreadable(f"{path} is not a .safetensors file.")
    try:
        kind = getattr(library, _pipeline_of(_tensor_names(path, pickled=pickled)))
        pipeline: Pipeline = kind.from_single_file(path, dtype=dtype)
    except (*UNREADABLE, UnpicklingError) as error:
        raise_if_of_the_device(error)
        raise ModelUnreadable(f"{path} cannot be loaded: {error}") from error
    return pipeline


def _tensor_names(path: Path, *, pickled: bool) -> list[str]:
    if pickled:
        content = torch.load(path, map_location="meta", weights_only=True)
        return list(content.get("state_dict", content))
    with safe_open(path, framework="pt") as checkpoint:
        return list(checkpoint.keys())


def _pipeline_of(names: Sequence[str]) -> str:
    """Name of the pipeline that a checkpoint in Stability AI's layout belongs to."""
    if not any(name.startswith("model.diffusion_model.input_blocks.") for name in names):
        raise ValueError("it is no Stable Diffusion checkpoint")
    if any(name.startswith("conditioner.embedders.") for name in names):
        return "StableDiffusionXLPipeline"
    return "StableDiffusionPipeline"


def _silence() -> None:
    """Keep progress bars and advice on optional packages out of the log."""
    library.utils.logging.disable_progress_bar()
    library.utils.logging.set_verbosity_error()
    from_transformers: Any = transformers.utils.logging
    from_transformers.disable_progress_bar()
    from_transformers.set_verbosity_error()
