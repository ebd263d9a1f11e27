"""Which of a saved node's values belongs to which input.

The editor saves what the widgets hold in their order, that of the class's inputs, with what
buttons and *control after generate* hold between. Files older than the class have fewer values,
or others; so a value that cannot be an input's is looked at twice. What newer editors save by name
beside that is older than what people change by hand, and is asked where the order fails.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from queue_agent_runtimes.comfyui.conversion.classes import (
    AUTOGROW,
    COMBO,
    DYNAMIC_COMBO,
    ClassInfo,
    InputSpec,
)
from queue_agent_runtimes.comfyui.conversion.document import EditorNode
from queue_agent_runtimes.comfyui.conversion.words import is_control, is_no_value

Values = dict[str, JsonValue]
_OF_THE_EDITOR: Final = frozenset({"audioUI", "control_after_generate", "upload", "videopreview"})


def values_of(node: EditorNode, info: ClassInfo) -> tuple[Values, list[JsonValue]]:
    """A node's values by input, and those that belong to none."""
    if isinstance(node.values, Mapping):
        return dict(_scalars(node.values)), []
    reader = _Reader(node, node.values)
    reader.read(info.inputs)
    reader.read(info.by_the_editor)
    known = {spec.name for spec in every_input(info, node.named, list(node.named))}
    named = {name: value for name, value in node.named.items() if name in known}
    if reader.in_doubt and named:
        return {**reader.values, **named}, []
    return {**named, **reader.values}, reader.rest()


def every_input(
    info: ClassInfo, values: Mapping[str, JsonValue], linked: Sequence[str]
) -> Iterator[InputSpec]:
    """A class's inputs, with those that the values of dynamic ones and links bring with them."""
    waiting = [*reversed(info.by_the_editor), *reversed(info.inputs)]
    while waiting:
        spec = waiting.pop()
        yield spec
        if spec.type == DYNAMIC_COMBO and spec.name in values:
            waiting.extend(reversed(spec.chosen(values[spec.name])))
        elif spec.type == AUTOGROW:
            waiting.extend(reversed(spec.grown(linked)))


def fits(spec: InputSpec, value: JsonValue) -> bool:
    """Whether a value is of the kind of an input; which files a server has says nothing."""
    test = _TESTS.get(spec.kind)
    return test is None or test(spec, value)


def _fits_combo(spec: InputSpec, value: JsonValue) -> bool:
    choices = spec.choices or ()
    if value in choices:
        return True
    if isinstance(value, list):  # several may be chosen
        return spec.options.get("multiselect") is True
    return isinstance(value, str) and (lists_files(spec) or "." in value)


def lists_files(spec: InputSpec) -> bool:
    """Whether a combo's choices are files, or made when they are asked for."""
    choices = spec.choices or ()
    uploads = any(name.endswith("_upload") for name in spec.options)
    remote = "remote" in spec.options
    return not choices or uploads or remote or any("." in str(choice) for choice in choices)


def _is_number(_: InputSpec, value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TESTS: Final[Mapping[str, Callable[[InputSpec, JsonValue], bool]]] = {
    "INT": _is_number,
    "FLOAT": _is_number,
    "BOOLEAN": lambda _, value: isinstance(value, bool),
    "STRING": lambda _, value: isinstance(value, str),
    "COLOR": lambda _, value: isinstance(value, str) and value.startswith("#"),
    COMBO: _fits_combo,
    DYNAMIC_COMBO: lambda spec, value: isinstance(value, str) and value in spec.variants(),
}
"""By the kind of a widget, whether a value is one of it; all else takes anything."""


class _Reader:
    """Reads values in their order."""

    def __init__(self, node: EditorNode, raw: Sequence[JsonValue]) -> None:
        self._node = node
        self._raw = raw
        self._position = 0
        self.values: Values = {}
        self.in_doubt = False

    def read(self, specs: Sequence[InputSpec]) -> None:
        widgets = list(specs)
        while widgets:
            spec = widgets.pop(0)
            if spec.type == AUTOGROW:
                names = [slot.name for slot in self._node.inputs if slot.widget]
                widgets = [*(s for s in spec.grown(names) if s.name in names), *widgets]
            elif self._is_widget(spec):
                self._take(spec, next(filter(self._is_widget, widgets), None))
                if spec.type == DYNAMIC_COMBO and spec.name in self.values:
                    widgets = [*spec.chosen(self.values[spec.name]), *widgets]

    def rest(self) -> list[JsonValue]:
        return [
            value
            for value in self._raw[self._position :]
            if not is_no_value(value) and not is_control(value)
        ]

    def _is_widget(self, spec: InputSpec) -> bool:
        if spec.is_widget:
            return True
        slot = self._node.input(spec.name)
        return slot is not None and slot.widget and spec.type != AUTOGROW

    def _take(self, spec: InputSpec, following: InputSpec | None) -> None:
        while self._position < len(self._raw):
            value = self._raw[self._position]
            if fits(spec, value):
                self.values[spec.name] = value
                self._position += 1
                self._pass_control(spec, following)
                return
            self.in_doubt = self.in_doubt or not is_no_value(value)
            if is_no_value(value) or is_control(value):
                self._position += 1
                if value in {None, ""} and (following is None or not fits(following, value)):
                    return
            elif following is not None and fits(following, value):
                return  # the file knows nothing of this input
            else:
                self.values[spec.name] = value
                self._position += 1
                return

    def _pass_control(self, spec: InputSpec, following: InputSpec | None) -> None:
        if self._position >= len(self._raw) or not is_control(self._raw[self._position]):
            return
        told = spec.options.get("control_after_generate") or spec.name in {"seed", "noise_seed"}
        if told or following is None or not fits(following, self._raw[self._position]):
            self._position += 1


def _scalars(values: Mapping[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    for name, value in values.items():
        if name not in _OF_THE_EDITOR and not isinstance(value, list | dict):
            yield name, value
