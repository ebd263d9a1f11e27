"""The chart's releases in an assembly, and what Helm makes of them."""

import json
from functools import cache
from typing import Any

import helm_python
from assembly import Assembly, Found
from image_service.chart_values import CHART
from intrinsics import Resolver


class Invented(Resolver):
    """Gives names to what only a deployment knows, in the form that the chart asks for."""

    def resolve(self, value: Any) -> Any:
        match value:
            case {"Fn::ImportValue": str(name)} if "Queue" in name:
                return "https://sqs.us-east-1.amazonaws.com/111122223333/jobs"
            case {"Fn::ImportValue": str(name)} if "Notifications" in name:
                return "arn:aws:sns:us-east-1:111122223333:notifications"
        return super().resolve(value)


@cache
def _chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def values_of(assembly: Assembly, release: Found) -> dict[str, Any]:
    resolver = Invented(region=assembly.config.region)
    values: dict[str, Any] = json.loads(resolver.resolve(release.properties["Values"]))
    return values


def rendered(assembly: Assembly, release: Found) -> str:
    values = values_of(assembly, release)
    namespace = release.properties["Namespace"]
    files = _chart().render(values, name=release.properties["Release"], namespace=namespace)
    return "\n---\n".join(text for path, text in files.items() if not path.endswith("NOTES.txt"))


def own_releases(assembly: Assembly) -> list[Found]:
    return [
        found
        for found in assembly.resources("Custom::AWSCDK-EKS-HelmChart")
        if found.stack.startswith("runtime-")
    ]
