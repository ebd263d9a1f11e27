"""What a policy allows, decided as IAM does: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html"""

import fnmatch
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from assembly import Assembly, Found, JsonObject

from queue_agent.testing.fault_proxy import Request

_S3_ACTIONS = {
    "GET": "GetObject",
    "HEAD": "GetObject",
    "PUT": "PutObject",
    "DELETE": "DeleteObject",
}


@dataclass(frozen=True)
class Call:
    """One call of a service, by what a policy says of it."""

    action: str
    resource: str


def listed(value: Any) -> list[Any]:
    """IAM writes one of something without its list."""
    return value if isinstance(value, list) else [value]


def statements(resource: Found) -> Iterator[JsonObject]:
    """Statements of identity policies, inline ones included."""
    properties = resource.properties
    documents = [properties.get("PolicyDocument")]
    documents += [policy["PolicyDocument"] for policy in properties.get("Policies", ())]
    for document in documents:
        if document:
            yield from listed(document["Statement"])


def identity_statements(assembly: Assembly) -> Iterator[tuple[Found, JsonObject]]:
    """Every statement of every role's policies."""
    for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::Role"):
        for resource in assembly.resources(kind):
            for statement in statements(resource):
                yield resource, statement


def allows(policy: Sequence[JsonObject], call: Call) -> bool:
    """Whether the policy allows the call; statements with conditions count as not matching."""
    matching = [
        statement["Effect"]
        for statement in policy
        if not statement.get("Condition")
        and any(_matches(pattern, call.action) for pattern in listed(statement["Action"]))
        and any(_matches(pattern, call.resource) for pattern in listed(statement["Resource"]))
    ]
    return "Allow" in matching and "Deny" not in matching


def call_of(request: Request, *, region: str, account: str) -> Call:
    """What a recorded request asks for, in IAM's words."""
    target = request.headers.get("x-amz-target", "")
    if target.startswith("AmazonSQS."):
        name = json.loads(request.body)["QueueUrl"].rpartition("/")[2]
        action = target.rpartition(".")[2].removesuffix("Batch")
        return Call(f"sqs:{action}", f"arn:aws:sqs:{region}:{account}:{name}")
    form = {name: values[0] for name, values in parse_qs(request.body.decode("latin-1")).items()}
    if "TopicArn" in form:
        return Call(f"sns:{form['Action'].removesuffix('Batch')}", form["TopicArn"])
    bucket, _, key = unquote(request.path).strip("/").partition("/")
    if not key:
        return Call("s3:ListBucket", f"arn:aws:s3:::{bucket}")
    return Call(f"s3:{_S3_ACTIONS[request.method]}", f"arn:aws:s3:::{bucket}/{key}")


def _matches(pattern: str, value: str) -> bool:
    return fnmatch.fnmatchcase(value, pattern.replace("[", "[[]"))
