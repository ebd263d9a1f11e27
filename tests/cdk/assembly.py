"""The examples, synthesised once each."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from aws_cdk import App
from image_service.config import Config
from image_service.stacks import ImageService

from made_once import made_once

CDK = Path(__file__).resolve().parents[2] / "cdk"
EXAMPLES = {path.stem: path for path in sorted((CDK / "examples").glob("*.yaml"))}

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """One resource of a template."""

    stack: str
    logical_id: str
    body: JsonObject

    @property
    def properties(self) -> JsonObject:
        properties: JsonObject = self.body.get("Properties", {})
        return properties

    @property
    def place(self) -> str:
        return f"{self.stack}/{self.logical_id}"


@dataclass(frozen=True)
class Assembly:
    """What synthesis wrote."""

    config: Config
    folder: Path
    templates: dict[str, JsonObject]
    """By the stack's part: ``data``, ``api``, …"""

    def resources(self, kind: str | None = None) -> Iterator[Found]:
        """Resources of all stacks, of one type if it is given."""
        for part, template in self.templates.items():
            for logical_id, body in template["Resources"].items():
                if kind in {None, body["Type"]}:
                    yield Found(part, logical_id, body)

    def named(self, kind: str, **properties: str) -> Found:
        """The one resource of that type with these properties."""
        wanted = properties.items()
        found = [
            resource
            for resource in self.resources(kind)
            if all(resource.properties.get(name) == value for name, value in wanted)
        ]
        assert len(found) == 1, f"{len(found)} of {kind} {properties}"
        return found[0]

    def violations(self) -> list[str]:
        """Rules that were broken and not acknowledged, each with where."""
        report = json.loads((self.folder / "validation-report.json").read_text())
        return [
            f"{violation['ruleName']}: {construct['constructPath']}"
            for plugin in report["pluginReports"]
            for violation in plugin["violations"]
            if violation["severity"] == "error"
            for construct in violation["violatingConstructs"]
        ]


@cache
def synthesised(name: str) -> Assembly:
    """An example's assembly; not to be changed."""
    config = Config.load(EXAMPLES[name])
    return _read(config, made_once(f"cdk-{name}", lambda folder: _synthesise(config, folder)))


def synthesised_from(config: Config, folder: Path) -> Assembly:
    """The assembly of a configuration, written into the folder."""
    _synthesise(config, folder)
    return _read(config, folder)


def _synthesise(config: Config, folder: Path) -> None:
    app = App(outdir=str(folder))
    ImageService(app, config).build("installed")
    app.synth()


def _read(config: Config, folder: Path) -> Assembly:
    templates = {
        path.name.removeprefix(f"{config.name}-").removesuffix(".template.json"): json.loads(
            path.read_text()
        )
        for path in sorted(folder.glob("*.template.json"))
    }
    return Assembly(config, folder, templates)
