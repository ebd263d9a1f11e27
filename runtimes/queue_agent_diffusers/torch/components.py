"""The components of a folder in the diffusers layout, read one by one before the pipeline is made.

So it is known how far reading is, and who reads the weights can be chosen: a component is made
without weights, and given those that were read, by what both libraries document for that. What
does not go that way is left to the pipeline's own `from_pretrained`, which reads what it is not
given.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
import transformers
from accelerate import init_empty_weights

from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.errors import ModelError
from queue_agent_diffusers.options import WeightsBy
from queue_agent_diffusers.torch.processors import read_processors
from queue_agent_diffusers.torch.streamed_weights import StreamedWeights
from queue_agent_diffusers.torch.unreadable import whole_model
from queue_agent_diffusers.torch.weight_files import INDEX, checkpoint_files, variant_of
from queue_agent_diffusers.torch.weight_readers import READERS, Reader

_log = logging.getLogger(__name__)
libraries: Final[Mapping[str, Any]] = {"diffusers": diffusers, "transformers": transformers}
_LINE: Final = 200
"""Characters told of an error, which may list every tensor."""
_PRETRAINED: Final[type] = libraries["transformers"].PreTrainedModel
_BASES: Final[Mapping[str, type]] = {
    "diffusers": libraries["diffusers"].ModelMixin,
    "transformers": _PRETRAINED,
}


class _ReaderFailed(Exception):
    """The files could not be read, which says nothing of the next component's."""


@dataclass
class Components:
    """Those that were read, by their names in the index."""

    weights_by: str
    found: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    """Why the chosen reader did not read a component."""

    @property
    def told(self) -> str:
        """Who has read the weights, and what was left to the usual reading."""
        if not self.notes:
            return self.weights_by
        names, reasons = ", ".join(self.notes), "; ".join(dict.fromkeys(self.notes.values()))
        return f"{self.weights_by} (safetensors for {names}: {reasons})"


def read_components(
    path: Path,
    files: Sequence[str],
    dtype: torch.dtype,
    device: torch.device,
    weights_by: WeightsBy,
    progress: LoadProgress,
    streamed: StreamedWeights | None = None,
) -> Components:
    """Read what the index names as a model of diffusers or transformers.

    `files` are the paths in the folder that a load reads; those of `streamed` lie in object
    storage, and what cannot be streamed is brought to the folder. The weights come onto `device`
    straight away unless the libraries read them, who bring them into the host's memory.

    Raises:
        OSError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError: as the
            libraries do, where they read.
        ModelError: as `streamed` does.
    """
    components = Components(streamed.told if streamed else weights_by)
    reader = streamed.read if streamed else READERS.get(weights_by)
    components.found |= read_processors(path)
    failure = ""
    progress.read = before = 0
    for name, kind in _models(path):
        here = [path / file for file in files if file.startswith(f"{name}/")]
        if not here:
            continue
        if reader is not None:
            try:
                model = _stream(kind, path / name, here, dtype, device, reader, progress)
            except (torch.OutOfMemoryError, ModelError):
                raise
            except _ReaderFailed as error:
                reader, failure = None, _line(error)
            except Exception as error:  # whatever it is, the usual reading has the last word
                components.notes[name] = _line(error)
            else:
                components.found[name], before = model, progress.read
                continue
        if failure:
            components.notes[name] = failure
        components.found[name] = _usual(kind, path / name, here, dtype, streamed)
        progress.read = before = before + sum(file.stat().st_size for file in here)
    _bring_others(path, files, components.found, streamed)
    if components.notes:
        _log.warning("model %s: weights by %s", progress.model, components.told)
    else:
        _log.info("model %s: weights by %s", progress.model, components.told)
    return components


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:_LINE]


def pipeline_class(path: Path) -> Any:
    """The class that the index names: asked itself, it takes all its components as they are given.

    `DiffusionPipeline` would read those anew that the class calls optional, as Wan's transformer.
    """
    general: type = libraries["diffusers"].DiffusionPipeline
    name = json.loads((path / INDEX).read_text()).get("_class_name")
    found = getattr(libraries["diffusers"], name, None) if isinstance(name, str) else None
    return found if isinstance(found, type) and issubclass(found, general) else general


def _models(path: Path) -> Iterator[tuple[str, Any]]:
    """The names and classes of the components that have weights, as far as both libraries do."""
    index: Mapping[str, object] = json.loads((path / INDEX).read_text())
    for name, value in index.items():
        match value:
            case [str(library), str(kind)] if library in _BASES and (path / name).is_dir():
                found = getattr(libraries[library], kind, None)
                if isinstance(found, type) and issubclass(found, _BASES[library]):
                    yield name, found


def _bring_others(
    path: Path, files: Sequence[str], found: Mapping[str, Any], streamed: StreamedWeights | None
) -> None:
    """The weights that the pipeline will read by itself."""
    if streamed is not None:
        left = [file for file in files if file.partition("/")[0] not in found]
        streamed.bring([path / file for file in left])


def _usual(
    kind: Any,
    folder: Path,
    files: Sequence[Path],
    dtype: torch.dtype,
    streamed: StreamedWeights | None,
) -> Any:
    if streamed is not None:
        streamed.bring(files)
    made = kind.from_pretrained(
        folder,
        dtype=dtype,
        variant=variant_of(files[0].name),
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    return whole_model(made, folder)


def _stream(
    kind: Any,
    folder: Path,
    files: Sequence[Path],
    dtype: torch.dtype,
    device: torch.device,
    reader: Reader,
    progress: LoadProgress,
) -> Any:
    config = json.loads((folder / "config.json").read_text())
    if "quantization_config" in config:
        raise ValueError("its weights are quantized")
    whole = checkpoint_files(files)
    state: dict[str, torch.Tensor] = {}
    try:
        for name, tensor in reader(whole, device):
            state[name] = tensor
            progress.read = (progress.read or 0) + tensor.nbytes
    except (torch.OutOfMemoryError, ModelError):
        raise
    except Exception as error:
        raise _ReaderFailed(f"{type(error).__name__}: {error}") from error
    if issubclass(kind, _PRETRAINED):
        return _given_to_transformers(kind, folder, state, dtype, device)
    return _given_to_diffusers(kind, folder, state, dtype)


def _given_to_transformers(
    kind: Any,
    folder: Path,
    state: dict[str, torch.Tensor],
    dtype: torch.dtype,
    device: torch.device,
) -> Any:
    generation = None
    if (folder / "generation_config.json").is_file():
        generation = transformers.GenerationConfig.from_pretrained(folder)
    made = kind.from_pretrained(
        None,
        config=kind.config_class.from_pretrained(folder),
        generation_config=generation,
        state_dict=state,
        dtype=dtype,
        device_map={"": device},
        output_loading_info=True,
    )
    return whole_model(made, folder)


def _given_to_diffusers(
    kind: Any, folder: Path, state: dict[str, torch.Tensor], dtype: torch.dtype
) -> Any:
    """As its `from_pretrained` makes it: no weights twice, some modules in full precision."""
    with _default_dtype(dtype), init_empty_weights():
        model = kind.from_config(kind.load_config(folder))
    full = getattr(kind, "_keep_in_fp32_modules", None) or ()
    full = {full} if isinstance(full, str) else set(full)
    for name, tensor in state.items():
        if tensor.is_floating_point():
            state[name] = tensor.to(torch.float32 if full & set(name.split(".")) else dtype)
    model.load_state_dict(state, strict=True, assign=True)
    model.register_to_config(_name_or_path=str(folder))
    return model.eval()


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """For buffers that no file holds; diffusers does the same."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
