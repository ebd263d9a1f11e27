"""What a role may do, and why where it cannot be said by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aws_cdk import aws_iam as iam
from constructs import Construct

from image_service.acknowledgements import acknowledge_wildcards

Conditions = Mapping[str, Mapping[str, str | list[str]]]


@dataclass(frozen=True)
class Right:
    """One statement of a policy."""

    name: str
    actions: Sequence[str]
    resources: Sequence[str]
    why: str = ""
    """The reason for wildcards among the resources; needed where there are any."""
    conditions: Conditions = field(default_factory=dict)

    @property
    def wildcards(self) -> list[str]:
        return [resource for resource in self.resources if "*" in resource]

    def statement(self) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            sid=self.name,
            actions=list(self.actions),
            resources=list(self.resources),
            conditions=dict(self.conditions),
        )


def give(scope: Construct, role: iam.IRole, rights: Sequence[Right]) -> iam.Policy:
    """Give the role these rights, in a policy of their own, and the reasons to its metadata.

    Raises:
        ValueError: a wildcard has no reason.
    """
    statements = [right.statement() for right in rights]
    policy = iam.Policy(scope, "Rights", roles=[role], statements=statements)
    for right in rights:
        if right.wildcards and not right.why:
            raise ValueError(f"{right.name}: why {', '.join(right.wildcards)}?")
        findings = [f"Resource::{resource}" for resource in right.wildcards]
        if findings:
            acknowledge_wildcards(policy, findings, right.why)
    return policy
