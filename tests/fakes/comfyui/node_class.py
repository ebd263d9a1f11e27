"""What a node class is: its inputs and outputs, and how it runs."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from fakes.comfyui.files import Files
from fakes.comfyui.model_lists import MODELS
from fakes.comfyui.values import Inputs

InputSpec = tuple[str | list[JsonValue], dict[str, JsonValue]]
Ui = dict[str, list[JsonValue]]
Inner = dict[str, tuple[str, dict[str, object]]]
"""Class and inputs of the nodes that a node becomes, by the last part of their ids; a list links
to another of them."""


@dataclass
class Work:
    """What a node may touch while it runs."""

    files: Files
    graph: Mapping[str, JsonValue]
    step: Callable[[int, int], Awaitable[None]]
    """Called with the steps done and the steps in all; raises when interrupted."""
    temp_word: str
    send_image: Callable[[bytes], None]
    """Send a PNG over the WebSocket."""
    send_preview: Callable[[], None]
    """Send a JPEG over the WebSocket."""
    held: Callable[[], Awaitable[None]]
    """Wait while the fault `paused` is on; heeds no interrupt."""
    end_worker: Callable[[], Awaitable[None]]
    """End the thread that executes prompts; never returns."""
    disable_metadata: bool = False


@dataclass(frozen=True)
class Result:
    outputs: tuple[object, ...] = ()
    """Of a node that becomes others: links to what takes the place of its outputs."""
    ui: Ui | None = None
    becomes: Inner = field(default_factory=dict)


@dataclass(frozen=True)
class NodeClass:
    run: Callable[[Work, Inputs], Awaitable[Result]]
    outputs: tuple[str, ...] = ()
    required: dict[str, InputSpec] = field(default_factory=dict)
    optional: dict[str, InputSpec] = field(default_factory=dict)
    output_node: bool = False
    changes_always: bool = False
    """Whether it is executed each time, whatever is remembered."""
    file_input: str | None = None
    """The input that names a file of the input folder, which must exist."""
    file_folder: str = ""
    """What its name has to begin with."""

    def info(self, name: str, files: Files) -> dict[str, JsonValue]:
        """What `/object_info` says of the class."""
        required: dict[str, JsonValue] = {key: [*self.spec(key, files)] for key in self.required}
        optional: dict[str, JsonValue] = {key: [*self.spec(key, files)] for key in self.optional}
        inputs: dict[str, JsonValue] = {"required": required}
        if optional:
            inputs["optional"] = optional
        return {
            "input": inputs,
            "input_order": {"required": [*self.required], "optional": [*self.optional]},
            "output": [*self.outputs],
            "output_is_list": [False] * len(self.outputs),
            "output_name": [*self.outputs],
            "name": name,
            "display_name": name,
            "description": "",
            "python_module": "nodes",
            "category": "fake",
            "output_node": self.output_node,
        }

    def spec(self, name: str, files: Files) -> InputSpec:
        kind, options = {**self.required, **self.optional}[name]
        if name == self.file_input:
            inputs = [record for record in files if record.type == "input"]
            kind = [f"{record.subfolder}/{record.filename}".lstrip("/") for record in inputs]
        for folder, models in MODELS.items():
            if kind is models:
                kind = files.models_of(folder)
        return kind, options
