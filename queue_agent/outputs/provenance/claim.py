"""What a manifest claims of a file: made by a model, by which, when, from what.

https://spec.c2pa.org, "Actions" and "Ingredients", in the form that `c2pa.Builder` takes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import JsonValue

from queue_agent import __version__
from queue_agent.outputs.cleaning.mark import SOURCE_TYPE

GENERATOR: Final = "queue-agent"
OWN: Final = "queue-agent."
"""What names begin with that are no C2PA's."""

_MODEL_FIELDS: Final = ("sd_model_checkpoint", "model", "ckpt_name", "unet_name")
"""What requests call a model: the Web UI's and the portable form, OpenAI's, ComfyUI's two."""
_MOST_MODELS: Final = 8
_LONGEST: Final = 1000
"""Letters of a text that is taken from a job."""
_DEEPEST: Final = 8


@dataclass(frozen=True)
class Ingredient:
    """An input of the job that was a file."""

    media_type: str
    sha256: str


@dataclass(frozen=True)
class OriginClaim:
    """What is said of a file."""

    runtime: str
    """Which software made it."""
    made: datetime
    models: Sequence[str] = ()
    prompt: str | None = None
    ingredients: Sequence[Ingredient] = ()

    def definition(self) -> dict[str, JsonValue]:
        """The manifest."""
        parameters: dict[str, JsonValue] = {}
        if self.models:
            parameters[f"{OWN}models"] = list(self.models)
        if self.prompt is not None:
            parameters[f"{OWN}prompt"] = self.prompt
        if self.ingredients:
            parameters["ingredientIds"] = [name_of(number) for number, _ in self._numbered()]
            parameters[f"{OWN}inputs"] = [one.sha256 for one in self.ingredients]
        action: dict[str, JsonValue] = {
            "action": "c2pa.created",
            "when": self.made.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "softwareAgent": {"name": self.runtime},
            "digitalSourceType": SOURCE_TYPE.decode(),
        }
        if parameters:
            action["parameters"] = parameters
        return {
            "claim_generator_info": [{"name": GENERATOR, "version": __version__}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
        }

    def described(self) -> list[dict[str, JsonValue]]:
        """Its ingredients, in their order."""
        return [
            {
                "title": f"input {number}",
                "format": one.media_type,
                "relationship": "inputTo",
                "label": name_of(number),
            }
            for number, one in self._numbered()
        ]

    def _numbered(self) -> Iterator[tuple[int, Ingredient]]:
        return enumerate(self.ingredients, start=1)


def name_of(number: int) -> str:
    """By which an action names the ingredient of that number."""
    return f"input-{number}"


def models_in(content: Mapping[str, JsonValue]) -> list[str]:
    """The models that a job names, in its own form or in a runtime's, each once."""
    found = dict.fromkeys(_models(content, _DEEPEST))
    return list(found)[:_MOST_MODELS]


def prompt_in(content: Mapping[str, JsonValue]) -> str | None:
    """The job's prompt, of those that have one at their outermost."""
    prompt = content.get("prompt")
    return prompt[:_LONGEST] if isinstance(prompt, str) else None


def _models(value: JsonValue | Mapping[str, JsonValue], depth: int) -> Iterator[str]:
    if depth and isinstance(value, Mapping):
        for field in _MODEL_FIELDS:
            if isinstance(name := value.get(field), str) and name:
                yield name[:_LONGEST]
        for inner in value.values():
            yield from _models(inner, depth - 1)
