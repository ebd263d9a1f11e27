"""What a publisher or subscriber must know of the deployment, by environment names."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from queue_agent.wire.errors import SettingsError
from queue_agent.wire.layout import unreserved

TOPIC_PATTERN = r"^arn:[\w-]+:sns:[\w-]+:\d+:\S+$"
BUCKET_PATTERN = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"


def setting(name: str, *also: str, description: str, default: Any = ..., **limits: Any) -> Any:
    """A field that is read from ``QUEUE_AGENT_{name}`` or one of the other names."""
    return Field(
        default=default,
        validation_alias=AliasChoices(f"QUEUE_AGENT_{name}", *also),
        description=description,
        **limits,
    )


class Environment(BaseSettings):
    """Settings that say what is wrong with them in one line each."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, frozen=True, extra="ignore", case_sensitive=True
    )

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            SettingsError: with one line per setting that is missing or wrong.
        """
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError("\n".join(_explain(cls, error))) from error


class ClientSettings(Environment):
    """Where jobs go and where answers come from; a part may be missing if it is not used."""

    job_topic: str | None = setting(
        "JOB_TOPIC_ARN",
        default=None,
        pattern=TOPIC_PATTERN,
        description="ARN of the topic that jobs are published to.",
    )
    notification_topic: str | None = setting(
        "TOPIC_ARN",
        "SNS_TOPIC_ARN",
        default=None,
        pattern=TOPIC_PATTERN,
        description="ARN of the topic that notifications go to.",
    )
    bucket: str | None = setting(
        "BUCKET",
        "S3_BUCKET",
        default=None,
        pattern=BUCKET_PATTERN,
        description="Name of the bucket that results go to.",
    )
    runtime: Annotated[str, AfterValidator(unreserved)] | None = setting(
        "RUNTIME_NAME",
        "RUNTIME_NAME",
        default=None,
        description="The runtime that jobs are for when they name none.",
    )
    region: str | None = setting(
        "REGION",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        default=None,
        description="Region of topics and bucket; else taken from a topic's ARN.",
    )

    @property
    def aws_region(self) -> str:
        """The region that is set or that a topic's ARN names.

        Raises:
            SettingsError: neither says one.
        """
        topic = self.job_topic or self.notification_topic
        named = [*(topic or "").split(":"), "", "", "", ""][3]
        region = self.region or named
        if not region:
            raise SettingsError("QUEUE_AGENT_REGION or AWS_REGION is not set: no topic names one.")
        return region


def _explain(cls: type[Environment], error: ValidationError) -> list[str]:
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        names, description = _named(cls, str(fault["loc"][0]))
        if fault["type"] == "missing":
            lines.append(f"{names} is not set: {description}")
        else:
            lines.append(f"{names}: {fault['msg'].removeprefix('Value error, ')}. {description}")
    return lines


def _named(cls: type[Environment], location: str) -> tuple[str, str]:
    for name, field in cls.model_fields.items():
        alias = field.validation_alias
        choices = [str(choice) for choice in getattr(alias, "choices", ())]
        if location == name or location in choices:
            return " or ".join(dict.fromkeys(choices)), field.description or ""
    return location, ""
