"""What the operator says of a gateway."""

from pathlib import Path
from typing import Self

from pydantic import model_validator

from queue_agent.settings.client import ClientSettings
from queue_agent.settings.reader import setting
from queue_agent.settings.shared import (
    BUCKET,
    GATEWAY_HOST,
    GATEWAY_PORT,
    JOB_TOPIC,
    NOTIFICATION_TOPIC,
    LogSettings,
)
from queue_agent.settings.values import (
    BucketName,
    LinkSeconds,
    ModelNames,
    Names,
    Port,
    Prefixes,
    QueuesByRuntime,
    TopicArn,
)
from queue_agent.wire.publication import LARGEST_PAYLOAD


class GatewaySettings(ClientSettings, LogSettings):
    """0 means no limit where a limit is optional."""

    job_topic: TopicArn = JOB_TOPIC.field()
    notification_topic: TopicArn = NOTIFICATION_TOPIC.field()
    bucket: BucketName = BUCKET.field()
    runtimes: QueuesByRuntime = setting(
        "GATEWAY_RUNTIMES",
        default=(),
        description="Runtimes on offer, as NAME or NAME=QUEUE_URL, the default one first, and once "
        "more for each further queue of one; else QUEUE_AGENT_RUNTIME_NAME with "
        "QUEUE_AGENT_QUEUE_URL or QUEUE_AGENT_QUEUES.",
    )
    on_demand: Names = setting(
        "GATEWAY_ON_DEMAND",
        default=(),
        description="Runtimes on offer that have a queue for on-demand capacity beside that of "
        "QUEUE_AGENT_GATEWAY_RUNTIMES, which is for spot.",
    )
    models: ModelNames = setting(
        "GATEWAY_MODELS",
        default=(),
        description="Names of models for the OpenAI routes, as NAME=RUNTIME or "
        "NAME=RUNTIME:CHECKPOINT, such as gpt-image-1=sdruntime, for clients that know no others.",
    )
    host: str = GATEWAY_HOST.field("127.0.0.1")
    port: Port = GATEWAY_PORT.field(9300)
    prefixes: Prefixes = setting(
        "GATEWAY_PREFIXES",
        default=(),
        description="Folders that jobs may name as `prefix` beside `output`, such as those that "
        "the pods have rights to; else any.",
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
        description="Requests a minute and key, of this gateway, where its entry says no other; "
        "0: no limit.",
    )
    jobs_in_flight: int = setting(
        "GATEWAY_JOBS_IN_FLIGHT",
        default=0,
        ge=0,
        description="Unfinished jobs of a key, of all gateways, where its entry says no other; "
        "0: no limit.",
    )
    body_limit: int = setting(
        "GATEWAY_BODY_LIMIT",
        default=LARGEST_PAYLOAD,
        gt=0,
        description="Largest request body; larger ones are answered 413.",
    )
    connections: int = setting(
        "GATEWAY_CONNECTIONS",
        default=1000,
        gt=0,
        description="Connections at once, WebSockets too; more are answered 503 and closed.",
    )
    header_seconds: float = setting(
        "GATEWAY_HEADER_SECONDS",
        default=10.0,
        gt=0,
        description="Within so long a request's headers must be there, from its first byte or "
        "the connection's beginning; later the connection is closed.",
    )
    body_seconds: float = setting(
        "GATEWAY_BODY_SECONDS",
        default=60.0,
        gt=0,
        description="Within so long a request's body must be there; later it is answered 408.",
    )
    cors_origins: Names = setting(
        "GATEWAY_CORS_ORIGINS",
        default=(),
        description="Origins whose pages may use the gateway; * for all.",
    )
    trusted_hosts: Names = setting(
        "GATEWAY_TRUSTED_HOSTS",
        default=(),
        description="Names that the gateway may be called by in `Host`, beside those of the "
        "loopback interface; * for any. Where none is set and API keys are asked for, any will do.",
    )
    sync_timeout: float = setting(
        "GATEWAY_SYNC_TIMEOUT",
        default=300.0,
        gt=0,
        description="The synchronous routes answer 504 after so long.",
    )
    previews: bool = setting(
        "GATEWAY_PREVIEWS",
        default=False,
        description="Whether jobs of the Web UI's routes ask for previews, which `progress` shows "
        "as `current_image`.",
    )
    link_seconds: LinkSeconds = setting(
        "GATEWAY_LINK_SECONDS",
        default=3600.0,
        description="How long links to images work; 0: no links.",
    )
    poll: float = setting(
        "GATEWAY_POLL",
        default=3.0,
        gt=0,
        description="The bucket is asked so often for the end of a job somebody waits for.",
    )

    @model_validator(mode="after")
    def _knows_a_runtime(self) -> Self:
        if not self.queues:
            raise ValueError(
                "QUEUE_AGENT_GATEWAY_RUNTIMES or QUEUE_AGENT_RUNTIME_NAME is not set: "
                "which runtimes are on offer?"
            )
        return self

    @model_validator(mode="after")
    def _has_its_runtimes_on_demand(self) -> Self:
        for name in self.on_demand:
            if name not in self.queues:
                raise ValueError(
                    f"QUEUE_AGENT_GATEWAY_ON_DEMAND: {name!r} is none of: {', '.join(self.queues)}"
                )
        return self

    @model_validator(mode="after")
    def _names_models_of_its_runtimes(self) -> Self:
        for name, (runtime, _) in self.model_names.items():
            if runtime not in self.queues:
                raise ValueError(
                    f"QUEUE_AGENT_GATEWAY_MODELS: {name} is of {runtime!r}, which is none of: "
                    f"{', '.join(self.queues)}"
                )
        return self

    @property
    def model_names(self) -> dict[str, tuple[str, str | None]]:
        """The runtime and, if one is named, the checkpoint that stand behind other names."""
        entries = [entry.partition("=") for entry in self.models]
        targets = {name: target.partition(":") for name, _, target in entries}
        return {name: (runtime, own or None) for name, (runtime, _, own) in targets.items()}

    @property
    def queues(self) -> dict[str, tuple[str, ...]]:
        """The URLs of the queues, as far as known, by runtime; the first is the default."""
        if not self.runtimes:
            return {self.runtime: self.counted} if self.runtime else {}
        found: dict[str, tuple[str, ...]] = {}
        for name, _, url in (entry.partition("=") for entry in self.runtimes):
            found[name] = tuple(filter(None, dict.fromkeys((*found.get(name, ()), url))))
        return found
