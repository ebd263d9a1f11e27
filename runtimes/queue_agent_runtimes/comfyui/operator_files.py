"""The operator's folder of workflows, read and checked once, at the start.

A file for each, ``NAME.json``::

    {
      "workflow": {"3": {"class_type": "KSampler", …}, …},
      "inputs": {
        "prompt": "6.text",
        "seed": {"to": "3.seed", "default": 7},
        "image": {"to": ["12.image", "14.image"], "required": true}
      },
      "answers": ["text-to-image"],
      "models": [{"name": "flux.safetensors", "url": "https://…", "directory": "checkpoints"}]
    }

`workflow` is in the API format, or as an editor saved it; each input leads to one or more inputs
of its nodes. Those of `models` that are missing are fetched, where the agent has a folder for them.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from queue_agent.wire.errors import Rejected, SettingsError
from queue_agent_runtimes.comfyui.conversion import is_editor_format
from queue_agent_runtimes.comfyui.operator_form import built, read_file
from queue_agent_runtimes.comfyui.operator_library import Library
from queue_agent_runtimes.comfyui.operator_saved import SavedOperatorWorkflow
from queue_agent_runtimes.comfyui.operator_workflow import OperatorWorkflow
from queue_agent_runtimes.comfyui.workflow import read_workflow


def read_library(folder: Path) -> Library:
    """The workflows of a folder, without those in folders of it.

    Raises:
        SettingsError: it cannot be read, or files of it cannot be used; with a line per fault.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".json")
        texts = {path.stem: path.read_bytes() for path in files}
    except OSError as error:
        raise SettingsError(f"{folder}: the workflows cannot be read: {error.strerror}") from error
    if not texts:
        raise SettingsError(f"{folder}: holds no workflow; each is a file NAME.json")
    faults: list[str] = []
    workflows: dict[str, OperatorWorkflow | SavedOperatorWorkflow] = {}
    for name, text in texts.items():
        try:
            workflows[name] = parse_operator_workflow(name, text)
        except ValueError as error:
            faults += [f"{folder / name}.json: {line}" for line in str(error).splitlines()]
    faults += [f"{folder}: {fault}" for fault in _claimed_twice(workflows.values())]
    if faults:
        raise SettingsError("\n".join(faults))
    return Library(
        {name: own for name, own in workflows.items() if isinstance(own, OperatorWorkflow)},
        {name: own for name, own in workflows.items() if isinstance(own, SavedOperatorWorkflow)},
    )


def parse_operator_workflow(name: str, text: bytes) -> OperatorWorkflow | SavedOperatorWorkflow:
    """A workflow of that name, from its file's text.

    Raises:
        ValueError: it cannot be used; with a line per fault.
    """
    file = read_file(name, text)
    if is_editor_format(file.workflow):
        return SavedOperatorWorkflow.of(name, file)
    try:
        graph = read_workflow({"workflow": file.workflow}).graph
    except Rejected as error:
        raise ValueError(error.message) from error
    return built(name, file, graph)


def _claimed_twice(workflows: Iterable[OperatorWorkflow | SavedOperatorWorkflow]) -> Iterator[str]:
    claimed: dict[str, str] = {}
    for own in workflows:
        for task_type in own.answers:
            if task_type in claimed:
                yield f"{own.name} and {claimed[task_type]} both answer {task_type}; one may"
            claimed[task_type] = own.name
