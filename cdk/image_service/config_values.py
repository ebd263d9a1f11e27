"""What single values of the configuration may be."""

import re
from ipaddress import IPv4Network
from typing import Annotated

from pydantic import AfterValidator, Field

from queue_agent.wire.job import Prefix
from queue_agent.wire.layout import unreserved


def _network(value: str) -> str:
    IPv4Network(value)
    return value


def _without_trailing_slash(value: str) -> str:
    return value.rstrip("/")


def _literal(value: str) -> str:
    if set(value) & set("*?$"):
        raise ValueError("must not contain '*', '?' or '$', which policies read as wildcards")
    return value


def _admin(value: str) -> str:
    if ":assumed-role/" in value:
        raise ValueError("names a session; EKS takes the role itself, arn:aws:iam::ACCOUNT:role/…")
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/.+", value):
        raise ValueError("must be the ARN of a role or user, arn:aws:iam::ACCOUNT:role/NAME")
    return value


Name = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")]
Zone = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9](-[a-z]+-[0-9])?[a-z]$")]
Region = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$")]
Bucket = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
BucketOrPrefix = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^*?]*)?$"),
    AfterValidator(_without_trailing_slash),
]
RoleArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$")]
AdminArn = Annotated[str, AfterValidator(_admin)]
Cidr = Annotated[str, AfterValidator(_network)]
Folder = Annotated[Prefix, AfterValidator(_literal)]
RuntimeName = Annotated[Name, AfterValidator(unreserved)]
