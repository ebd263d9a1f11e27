"""The server's node classes, as `/object_info` has them: their inputs in order, and outputs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from queue_agent_runtimes.comfyui.conversion.document import as_dict, as_list, text

DYNAMIC_COMBO: Final = "COMFY_DYNAMICCOMBO_V3"
AUTOGROW: Final = "COMFY_AUTOGROW_V3"
COMBO: Final = "COMBO"
ANYTHING: Final = frozenset({"*", "COMFY_MATCHTYPE_V3"})

_PLAIN_WIDGETS: Final = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", COMBO, DYNAMIC_COMBO})
_OTHER_WIDGETS: Final = frozenset(
    {"AUDIO_RECORD", "COLOR", "IMAGECOMPARE", "LOAD_3D", "MARKDOWN", "WEBCAM"}
)
_DEFAULTS: Final[Mapping[str, JsonValue]] = {
    "INT": 0,
    "FLOAT": 0.0,
    "STRING": "",
    "BOOLEAN": False,
    "IMAGECOMPARE": {},
}
_BY_THE_EDITOR: Final[Mapping[str, Mapping[str, JsonValue]]] = {
    "CustomCombo": {"index": ["INT", {}]},
}
"""Inputs that the editor adds to a class of which the server does not speak."""


@dataclass(frozen=True)
class InputSpec:
    """An input of a class."""

    name: str
    """With what it stands in, as ``resize_type.width``."""
    type: str
    options: Mapping[str, JsonValue]
    required: bool
    choices: Sequence[JsonValue] | None = None
    """Of a combo."""

    @property
    def is_widget(self) -> bool:
        """Whether the editor shows it as a widget, also where it can be linked to."""
        if self.options.get("forceInput") is True or self.type == AUTOGROW:
            return False
        own = self.options.keys() & {"socketless", "widgetType"}
        return bool(own) or self.type in _PLAIN_WIDGETS or self.type in _OTHER_WIDGETS

    @property
    def kind(self) -> str:
        """The type of a widget that can be linked to several."""
        return text(self.options.get("widgetType")) or self.type

    @property
    def default(self) -> JsonValue:
        """What the editor's widget holds at first; None for what has nothing."""
        if "default" in self.options:
            return self.options["default"]
        if self.type == DYNAMIC_COMBO:
            return next(iter(self.variants()), None)
        if self.choices is not None:
            return self.choices[0] if self.choices else None
        return _DEFAULTS.get(self.type)

    def variants(self) -> dict[str, Mapping[str, JsonValue]]:
        """Of a dynamic combo: the inputs that each choice brings with it."""
        options = map(as_dict, as_list(self.options.get("options")))
        return {text(option.get("key")): as_dict(option.get("inputs")) for option in options}

    def chosen(self, choice: JsonValue) -> list["InputSpec"]:
        """Of a dynamic combo: the inputs that a choice brings with it."""
        inputs = self.variants().get(choice if isinstance(choice, str) else "", {})
        return list(_specs(inputs, {}, prefix=f"{self.name}."))

    def grown(self, names: Sequence[str]) -> list["InputSpec"]:
        """Of an autogrow input: those of its inputs that have the names, and those it must have."""
        template = as_dict(self.options.get("template"))
        first = next(_specs(as_dict(template.get("input")), {}, prefix=""), None)
        if first is None:
            return []
        least = template.get("min")
        least = least if isinstance(least, int) else 0
        known = [text(name) for name in as_list(template.get("names"))]
        if not known:
            prefix = text(template.get("prefix")) or first.name
            known = [f"{prefix}{index}" for index in range(least)]
        must = [f"{self.name}.{name}" for name in known[:least]]
        found = [name for name in names if name.startswith(f"{self.name}.")]
        return [
            InputSpec(name, first.type, first.options, name in must, first.choices)
            for name in dict.fromkeys([*must, *found])
        ]


@dataclass(frozen=True)
class ClassInfo:
    """A class of nodes."""

    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    is_output: bool = False
    """Whether the server runs it for its own sake, and all others only for such."""
    closed: bool = False
    """Whether it is known to take no other inputs than it names."""
    by_the_editor: tuple[InputSpec, ...] = field(default=())

    @classmethod
    def read(cls, name: str, info: JsonValue) -> "ClassInfo":
        found = as_dict(info)
        return cls(
            tuple(_specs(as_dict(found.get("input")), as_dict(found.get("input_order")))),
            tuple(
                COMBO if isinstance(kind, list) else text(kind)
                for kind in as_list(found.get("output"))
            ),
            found.get("output_node") is True,
            text(found.get("python_module")).partition(".")[0] in {"nodes", "comfy_extras"},
            tuple(
                InputSpec(added, text(as_list(spec)[0]), {}, required=False)
                for added, spec in _BY_THE_EDITOR.get(name, {}).items()
            ),
        )


class Classes:
    """Those of a server, read when they are met."""

    def __init__(self, object_info: Mapping[str, JsonValue]) -> None:
        self._info = object_info
        self._read: dict[str, ClassInfo] = {}

    def __contains__(self, name: str) -> bool:
        return isinstance(self._info.get(name), dict)

    def __getitem__(self, name: str) -> ClassInfo:
        if name not in self._read:
            self._read[name] = ClassInfo.read(name, self._info[name])
        return self._read[name]


def _specs(
    inputs: Mapping[str, JsonValue], order: Mapping[str, JsonValue], prefix: str = ""
) -> Iterator[InputSpec]:
    for section in ("required", "optional"):
        specs = as_dict(inputs.get(section))
        names = [text(name) for name in as_list(order.get(section))]
        for name in dict.fromkeys([*names, *specs]):
            if name in specs:
                yield _spec(prefix + name, specs[name], required=section == "required")


def _spec(name: str, spec: JsonValue, *, required: bool) -> InputSpec:
    """From ``[type, {…}]``; a list for a type is that of a combo's choices."""
    parts = as_list(spec)
    kind = parts[0] if parts else ""
    options = as_dict(parts[1]) if len(parts) > 1 else {}
    if isinstance(kind, list):
        return InputSpec(name, COMBO, options, required, kind)
    choices = as_list(options.get("options")) if kind == COMBO else None
    return InputSpec(name, text(kind), options, required, choices)
