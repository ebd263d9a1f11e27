"""The chart rendered by Helm's engine, for the tests."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "charts" / "queue-agent"
EXAMPLES = {path.stem: path for path in sorted((CHART / "values").glob("*.yaml"))}
FEATURES = {path.stem: path for path in sorted((HERE / "values").glob("*.yaml"))}
BASE = "diffusers"
RELEASE = "demo"
NAMESPACE = "images"

Values = dict[str, Any]
Manifest = dict[str, Any]

POOL: Values = {"karpenter": {"enabled": True, "nodeClass": {"existing": "gpu"}}}
"""Values that bring a node pool, to be laid over those of an example."""


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Values:
    """Values laid over others as Helm does: mappings are merged, all else is replaced."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = (
            merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return result


def example(name: str) -> Values:
    return _read(EXAMPLES[name])


def values_of(name: str) -> Values:
    """Values of an example, or of a feature laid over the base example."""
    return example(name) if name in EXAMPLES else merged(example(BASE), _read(FEATURES[name]))


def render_files(values: Values, *, chart: Path = CHART, release: str = RELEASE) -> dict[str, str]:
    """Rendered text by template; like `helm template`, refuses what the schema refuses."""
    loaded = _load(chart)
    try:
        files: dict[str, str] = loaded.render(values, name=release, namespace=NAMESPACE)
    except helm_python.HelmError:
        loaded.validate_schema(values)  # raises by its own type what the schema refuses
        raise
    return files


def render(values: Values, *, chart: Path = CHART, release: str = RELEASE) -> list[Manifest]:
    files = render_files(values, chart=chart, release=release)
    return [
        document
        for path, text in sorted(files.items())
        if not path.endswith("NOTES.txt")
        for document in yaml.load_all(text, yaml.CSafeLoader)
        if document
    ]


@cache
def manifests_of(name: str) -> list[Manifest]:
    """The objects of an example or a feature, rendered once; not to be changed."""
    return render(values_of(name))


def only(manifests: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    """The one object of that kind (and name)."""
    found = [
        item
        for item in manifests
        if item["kind"] == kind and name in (None, item["metadata"]["name"])
    ]
    assert len(found) == 1, f"{len(found)} objects {kind} {name or ''}"
    return found[0]


def kinds(manifests: list[Manifest]) -> set[str]:
    return {item["kind"] for item in manifests}


def pod_templates(manifests: list[Manifest]) -> Iterator[Manifest]:
    """The pod templates of all workloads, with the workload's name."""
    for item in manifests:
        if item["kind"] in {"Deployment", "Service"} and "template" in item["spec"]:
            yield item["spec"]["template"]
        if item["kind"] == "ScaledJob":
            yield item["spec"]["jobTargetRef"]["template"]


def containers(template: Manifest) -> dict[str, Manifest]:
    spec = template["spec"]
    return {item["name"]: item for item in [*spec.get("initContainers", []), *spec["containers"]]}


def environment(container: Manifest) -> dict[str, str]:
    """The variables of a container; those from Secrets get a value of the right form."""
    return {item["name"]: item.get("value", "user:secret") for item in container["env"]}


@cache
def _load(chart: Path) -> helm_python.Chart:
    return helm_python.Chart.load(chart)


def _read(path: Path) -> Values:
    values: Values = helm_python.values_from_yaml(path.read_text())
    return values
