"""CloudFormation's functions, as far as the templates use them."""

import re
from collections.abc import Mapping
from typing import Any

ACCOUNT = "123456789012"


class Resolver:
    """Replaces functions by values: those of a deployment, where they are given.

    `exports` are other stacks' by their names. What nobody knows becomes ``unknown-…``.
    """

    def __init__(self, *, region: str, exports: Mapping[str, str] | None = None) -> None:
        partition, suffix = ("aws-cn", ".cn") if region.startswith("cn-") else ("aws", "")
        self._names = {
            "AWS::Region": region,
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": partition,
            "AWS::URLSuffix": f"amazonaws.com{suffix}",
        }
        self._exports = dict(exports or {})

    def name(self, logical_id: str, value: str) -> None:
        """Tell what a resource is called."""
        self._names[logical_id] = value

    def resolve(self, value: Any) -> Any:  # noqa: PLR0911  one per function
        """The value with every function in it replaced."""
        if isinstance(value, list):
            return [self.resolve(part) for part in value]
        if not isinstance(value, dict):
            return value
        match value:
            case {"Ref": name}:
                return self._names.get(name, f"unknown-{name}")
            case {"Fn::GetAtt": [name, attribute]}:
                unknown = f"arn:aws:unknown:::{name}" if attribute == "Arn" else f"unknown-{name}"
                return self._names.get(f"{name}.{attribute}", unknown)
            case {"Fn::ImportValue": name}:
                return self._exports.get(name, f"unknown-{name}")
            case {"Fn::Join": [separator, parts]}:
                return str(separator).join(map(str, self.resolve(parts)))
            case {"Fn::Sub": str(text)}:
                named = re.compile(r"\$\{([\w:]+)\}")
                return named.sub(lambda found: str(self.resolve({"Ref": found[1]})), text)
        return {key: self.resolve(part) for key, part in value.items()}
