"""What the operator says of a gateway, by environment names."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, model_validator
from pydantic_settings import NoDecode

from queue_agent.settings.client import BUCKET_PATTERN, TOPIC_PATTERN, ClientSettings, setting
from queue_agent.wire.layout import unreserved


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _runtimes(value: tuple[str, ...]) -> tuple[str, ...]:
    for entry in value:
        name, separator, url = entry.partition("=")
        if not name or (separator and not url.startswith(("http://", "https://"))):
            raise ValueError("must be NAME or NAME=QUEUE_URL, by commas")
        unreserved(name)
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class GatewaySettings(ClientSettings):
    """Durations are in seconds, sizes in bytes; 0 means no limit where one is optional."""

    job_topic: str = setting(
        "JOB_TOPIC_ARN",
        pattern=TOPIC_PATTERN,
        description="ARN of the topic that jobs are published to.",
    )
    notification_topic: str = setting(
        "TOPIC_ARN",
        "SNS_TOPIC_ARN",
        pattern=TOPIC_PATTERN,
        description="ARN of the topic that notifications go to.",
    )
    bucket: str = setting(
        "BUCKET",
        "S3_BUCKET",
        pattern=BUCKET_PATTERN,
        description="Name of the bucket that results go to.",
    )
    runtimes: Annotated[Names, AfterValidator(_runtimes)] = setting(
        "GATEWAY_RUNTIMES",
        default=(),
        description="Runtimes on offer, as NAME or NAME=QUEUE_URL by commas, the default one "
        "first; else QUEUE_AGENT_RUNTIME_NAME with QUEUE_AGENT_QUEUE_URL.",
    )
    queue_url: str | None = setting(
        "QUEUE_URL",
        "SQS_QUEUE_URL",
        default=None,
        description="URL of the queue of the one runtime.",
    )
    keys_file: Path | None = setting(
        "GATEWAY_KEYS_FILE",
        default=None,
        description="File with the API keys' digests; read again whenever it changes.",
    )
    open: bool = setting(
        "GATEWAY_OPEN",
        default=False,
        description="Serve without API keys although others can reach the port.",
    )
    rate: int = setting(
        "GATEWAY_RATE",
        default=0,
        ge=0,
        description="Requests a minute and key, of this gateway, where its entry says no other.",
    )
    jobs_in_flight: int = setting(
        "GATEWAY_JOBS_IN_FLIGHT",
        default=0,
        ge=0,
        description="Unfinished jobs of a key, of all gateways, where its entry says no other.",
    )
    body_limit: int = setting(
        "GATEWAY_BODY_LIMIT", default=32 * 2**20, gt=0, description="Largest request body."
    )
    cors_origins: Names = setting(
        "GATEWAY_CORS_ORIGINS",
        default=(),
        description="Origins whose pages may use the gateway, by commas; * for all.",
    )
    sync_timeout: float = setting(
        "GATEWAY_SYNC_TIMEOUT",
        default=300.0,
        gt=0,
        description="The synchronous routes answer 504 after so long.",
    )
    link_seconds: float = setting(
        "GATEWAY_LINK_SECONDS",
        default=3600.0,
        ge=0,
        le=604_800,
        description="How long links to images work; 0: no links.",
    )
    poll: float = setting(
        "GATEWAY_POLL",
        default=3.0,
        gt=0,
        description="The bucket is asked so often for the end of a job somebody waits for.",
    )
    log_level: Annotated[str, AfterValidator(str.upper)] = setting(
        "LOG_LEVEL",
        "LOGLEVEL",
        default="INFO",
        pattern=r"(?i)^(debug|info|warning|error|critical)$",
        description="DEBUG, INFO, WARNING, ERROR or CRITICAL.",
    )
    log_format: Literal["auto", "json", "console"] = setting(
        "LOG_FORMAT", default="auto", description="auto: console in a terminal, else json."
    )

    @model_validator(mode="after")
    def _knows_a_runtime(self) -> "GatewaySettings":
        if not self.queues:
            raise ValueError("neither QUEUE_AGENT_GATEWAY_RUNTIMES nor …_RUNTIME_NAME is set")
        return self

    @property
    def queues(self) -> dict[str, str | None]:
        """The queue's URL, if known, by runtime; the first is the default."""
        if self.runtimes:
            entries = [entry.partition("=") for entry in self.runtimes]
            return {name: url or None for name, _, url in entries}
        return {self.runtime: self.queue_url} if self.runtime else {}
