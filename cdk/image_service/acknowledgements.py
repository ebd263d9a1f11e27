"""Why a rule of cdk-nag does not hold somewhere: always with a sentence, always in place.

The sentences end up in the templates' metadata, where the tests look for them.
"""

from collections.abc import Mapping, Sequence

from aws_cdk import Acknowledgment, Aws, Validations
from constructs import IConstruct


def acknowledge(construct: IConstruct, reasons: Mapping[str, str]) -> None:
    """Accept findings at the construct and below it, by the rule's name."""
    rules = [
        Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason) for rule, reason in reasons.items()
    ]
    Validations.of(construct).acknowledge(*rules)


def acknowledge_wildcards(construct: IConstruct, findings: Sequence[str], reason: str) -> None:
    """Accept wildcards in policies: ``Resource::…`` or ``Action::…``, each by its own name."""
    acknowledge(construct, {f"IAM5[{_flat(finding)}]": reason for finding in findings})


def acknowledge_managed_policies(construct: IConstruct, names: Sequence[str], reason: str) -> None:
    """Accept policies that AWS manages."""
    arn = "arn:<AWS::Partition>:iam::aws:policy"
    acknowledge(construct, {f"IAM4[Policy::{arn}/{name}]": reason for name in names})


def _flat(text: str) -> str:
    """The text with the deployment's pseudo parameters as cdk-nag spells them."""
    for token, name in (
        (Aws.PARTITION, "Partition"),
        (Aws.ACCOUNT_ID, "AccountId"),
        (Aws.REGION, "Region"),
    ):
        text = text.replace(token, f"<AWS::{name}>")
    return text
