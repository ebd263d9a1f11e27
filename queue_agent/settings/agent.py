"""Every setting of the agent, once, with its environment names.

Each has a name of its own (``QUEUE_AGENT_…``); those of AWS's guidance for asynchronous
image generation are accepted beside it, so that its ConfigMap works unchanged. What the
AWS SDK reads itself (credentials, ``AWS_ENDPOINT_URL``, ``AWS_PROFILE``, …) is left to it.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
)
from pydantic import ValidationError as PydanticValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from queue_agent.inputs.addresses import Allowlist
from queue_agent.inputs.references import ReferencePolicy
from queue_agent.runtime import RuntimeOptions
from queue_agent.telemetry.options import (
    MetricExport,
    OtlpProtocol,
    TelemetryOptions,
    TraceExport,
)
from queue_agent.wire.errors import SettingsError
from queue_agent.wire.layout import unreserved
from queue_agent.wire.signing import SigningSecret
from queue_agent.worker.webhooks import WebhookPolicy

_RUNTIME_ALIASES = {"sdwebui": "webui"}


def _setting(name: str, *also: str, description: str, default: Any = ..., **limits: Any) -> Any:
    return Field(
        default=default,
        validation_alias=AliasChoices(f"QUEUE_AGENT_{name}", *also),
        description=description,
        **limits,
    )


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _bucket_name(value: str) -> str:
    name = value.removeprefix("s3://").strip("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
        raise ValueError("is no bucket name")
    return name


def _base_url(value: str) -> str:
    url = value if "://" in value else f"http://{value}"
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", url):
        raise ValueError("is no http(s) address")
    if "@" in url:
        raise ValueError("holds credentials, which belong in QUEUE_AGENT_RUNTIME_AUTH")
    return re.sub(r"/sdapi/v1/?$", "", url).rstrip("/")


def _queue_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+/\S+", value):
        raise ValueError("is no queue URL; it looks like https://sqs.REGION.amazonaws.com/…")
    return value


def _topic_arn(value: str) -> str:
    if not re.fullmatch(r"arn:[\w-]+:sns:[\w-]+:\d+:\S+", value):
        raise ValueError("is no topic ARN; it looks like arn:aws:sns:REGION:ACCOUNT:NAME")
    return value


def _runtime_type(value: str) -> str:
    name = value.strip().lower()
    return _RUNTIME_ALIASES.get(name, name)


def _credentials(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().rstrip("\r\n")
    if ":" not in text:
        raise ValueError("must be USER:PASSWORD")
    return SecretStr(text)


def _api_key(value: SecretStr) -> SecretStr:
    """Secrets from files often end with a line's end, which no header may hold."""
    text = value.get_secret_value().strip()
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("must be printable ASCII without blanks")
    return SecretStr(text)


def _webhook_secret(value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    if value is not None:
        SigningSecret.parse(value.get_secret_value())
    elif info.data.get("webhook_hosts"):
        raise ValueError("must be set where QUEUE_AGENT_WEBHOOK_HOSTS names hosts")
    return value


def _allowlist(value: tuple[str, ...]) -> tuple[str, ...]:
    Allowlist.parse(value)
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """What the operator decides. Durations are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, frozen=True, extra="ignore", case_sensitive=True
    )

    queue_url: Annotated[str, AfterValidator(_queue_url)] = _setting(
        "QUEUE_URL", "SQS_QUEUE_URL", description="URL of the queue that jobs come from."
    )
    topic_arn: Annotated[str, AfterValidator(_topic_arn)] = _setting(
        "TOPIC_ARN", "SNS_TOPIC_ARN", description="ARN of the topic that notifications go to."
    )
    bucket: Annotated[str, AfterValidator(_bucket_name)] = _setting(
        "BUCKET", "S3_BUCKET", description="Name of the bucket that results go to."
    )
    region: str | None = _setting(
        "REGION",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        default=None,
        description="Region of queue, topic and bucket; else taken from the topic's ARN.",
    )

    runtime: Annotated[str, AfterValidator(_runtime_type)] = _setting(
        "RUNTIME", "RUNTIME_TYPE", description="Adapter: see `queue-agent runtimes`."
    )
    runtime_name: Annotated[str, AfterValidator(unreserved)] | None = _setting(
        "RUNTIME_NAME",
        "RUNTIME_NAME",
        default=None,
        description="The `runtime` that jobs and notifications name; jobs for others are refused.",
    )
    runtime_url: Annotated[str, AfterValidator(_base_url)] | None = _setting(
        "RUNTIME_URL",
        "API_BASE_URL",
        default=None,
        description="Where the runtime listens; else the adapter's default on this host.",
    )
    runtime_auth: Annotated[SecretStr, AfterValidator(_credentials)] | None = _setting(
        "RUNTIME_AUTH",
        default=None,
        description="USER:PASSWORD of the runtime's API (the Web UI's --api-auth).",
    )
    runtime_api_key: Annotated[SecretStr, AfterValidator(_api_key)] | None = _setting(
        "RUNTIME_API_KEY", default=None, description="Bearer token of the runtime's API."
    )
    switch_models: bool = _setting(
        "SWITCH_MODELS",
        "DYNAMIC_SD_MODEL",
        default=True,
        description="Whether a job may make the runtime load another model.",
    )

    notify_running: bool = _setting(
        "NOTIFY_RUNNING",
        "EXP_CALLBACK_WHEN_RUNNING",
        default=False,
        description="Also publish `running` notifications with the progress.",
    )
    progress_interval: float = _setting(
        "PROGRESS_INTERVAL",
        default=1.0,
        ge=0,
        description="At least so long between two `running` notifications of a job.",
    )
    presign: float = _setting(
        "PRESIGN",
        default=0.0,
        ge=0,
        le=604_800,
        description="Add links to the images that work for so long; 0: none.",
    )

    visibility_timeout: float | None = _setting(
        "VISIBILITY_TIMEOUT",
        default=None,
        ge=3,
        le=43_200,
        description="Length of a lease, renewed each third of it; else the queue's own.",
    )
    max_receives: int = _setting(
        "MAX_RECEIVES",
        default=5,
        ge=1,
        description="Attempts at a job where the queue has no redrive policy.",
    )
    receive_wait: float = _setting(
        "RECEIVE_WAIT", default=20.0, ge=0, le=20, description="Length of a long poll."
    )
    prefetch: int = _setting(
        "PREFETCH",
        default=20,
        ge=0,
        le=100,
        description="At most so many messages are held ahead of the GPU; how many are needed "
        "for it never to wait is forecast.",
    )
    max_jobs: int | None = _setting(
        "MAX_JOBS",
        default=None,
        ge=1,
        description="End after so many messages, as a Kubernetes Job does; else never.",
    )
    pod_deletion_cost: bool = _setting(
        "POD_DELETION_COST",
        default=False,
        description="Mark the agent's own pod while it is busy, so that a scale-in takes others.",
    )
    hold_limit: float = _setting(
        "HOLD_LIMIT",
        default=60.0,
        gt=0,
        description="A message that the runtime has no place for is given back after so long.",
    )
    run_timeout: float = _setting(
        "RUN_TIMEOUT",
        default=900.0,
        gt=0,
        description="A run that takes longer is interrupted and left to another pod.",
    )
    store_patience: float = _setting(
        "STORE_PATIENCE",
        default=300.0,
        ge=0,
        description="How long finished work is kept and retried while the cloud fails.",
    )
    retry_delay: float = _setting(
        "RETRY_DELAY",
        default=2.0,
        gt=0,
        description="Delay before a released message returns; doubled with each delivery.",
    )
    cancel_poll: float = _setting(
        "CANCEL_POLL",
        default=2.0,
        ge=0,
        description="Cancel markers are noticed within so long while jobs wait and run; "
        "0: each job looks only once, by a request of its own.",
    )
    shutdown_grace: float = _setting(
        "SHUTDOWN_GRACE",
        default=50.0,
        ge=0,
        description="After SIGTERM: so long to finish what runs.",
    )

    reference_allow: Annotated[Names, AfterValidator(_allowlist)] = _setting(
        "REFERENCE_ALLOW",
        default=(),
        description="Private networks and hosts that references may name, by commas.",
    )
    reference_buckets: Names = _setting(
        "REFERENCE_BUCKETS",
        default=(),
        description="Buckets (or bucket/prefix/) that references and offloaded payloads may name "
        "beside the results bucket, by commas; prefixes of the results bucket restrict it.",
    )
    reference_max_bytes: int = _setting(
        "REFERENCE_MAX_BYTES",
        default=64 * 2**20,
        gt=0,
        description="Largest input file. Beyond 1 MiB it lies in the temporary folder (`TMPDIR`) "
        "until its job's run is over; all inputs of a job together are at most 256 MiB.",
    )
    reference_max_pixels: int = _setting(
        "REFERENCE_MAX_PIXELS", default=64_000_000, gt=0, description="Largest input image."
    )
    reference_timeout: float = _setting(
        "REFERENCE_TIMEOUT", default=30.0, gt=0, description="Time limit for fetching one input."
    )

    webhook_hosts: Annotated[Names, AfterValidator(_allowlist)] = _setting(
        "WEBHOOK_HOSTS",
        default=(),
        description="Hosts that `metadata.callback_url` may name, by commas; none: no webhooks.",
    )
    webhook_secret: Annotated[SecretStr | None, AfterValidator(_webhook_secret)] = _setting(
        "WEBHOOK_SECRET",
        default=None,
        validate_default=True,
        description="What webhooks are signed with: whsec_ and base64 of 24 to 64 random bytes.",
    )

    health_host: str = _setting(
        "HEALTH_HOST",
        default="0.0.0.0",  # noqa: S104  a pod's probes come from outside
        description="Address of the health endpoints.",
    )
    health_port: int = _setting(
        "HEALTH_PORT",
        default=9100,
        ge=0,
        le=65_535,
        description="Port of /healthz and /readyz; 0: off.",
    )
    traces: TraceExport | None = _setting(
        "TRACES",
        default=None,
        description="off, otlp, xray (otlp with X-Ray's ids, for a collector that sends there) or "
        "console; else otlp where OTEL_EXPORTER_OTLP_ENDPOINT is set.",
    )
    disable_xray: bool = _setting(
        "DISABLE_XRAY", "DISABLE_XRAY", default=False, description="Turns `xray` off again."
    )
    metrics: MetricExport = _setting(
        "METRICS",
        default="prometheus",
        description="off, prometheus (/metrics on the health port), otlp (pushed), or both.",
    )
    otlp_endpoint: str | None = _setting(
        "OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        default=None,
        pattern=r"^https?://\S+$",
        description="Base address of the OpenTelemetry collector, such as http://127.0.0.1:4318.",
    )
    otlp_protocol: OtlpProtocol | None = _setting(
        "OTLP_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        default=None,
        description="grpc or http/protobuf; else http/protobuf on port 4318, and grpc elsewhere.",
    )

    log_level: Annotated[str, AfterValidator(str.upper)] = _setting(
        "LOG_LEVEL",
        "LOGLEVEL",
        default="INFO",
        pattern=r"(?i)^(debug|info|warning|error|critical)$",
        description="DEBUG, INFO, WARNING, ERROR or CRITICAL.",
    )
    log_format: Literal["auto", "json", "console"] = _setting(
        "LOG_FORMAT", default="auto", description="auto: console in a terminal, else json."
    )

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            SettingsError: with one line per setting that is missing or wrong.
        """
        try:
            return cls()
        except PydanticValidationError as error:
            raise SettingsError("\n".join(_explain(cls, error))) from error

    @property
    def name(self) -> str:
        """What notifications call the runtime."""
        return self.runtime_name or self.runtime

    @property
    def aws_region(self) -> str:
        return self.region or self.topic_arn.split(":")[3]

    @property
    def readable_buckets(self) -> frozenset[str]:
        """Where inputs and offloaded payloads may lie: ``bucket`` or ``bucket/prefix/``.

        The results bucket is open as a whole unless prefixes of it are named.
        """
        named = frozenset(self.reference_buckets)
        restricted = any(entry.startswith(f"{self.bucket}/") for entry in named)
        return named if restricted else named | {self.bucket}

    def runtime_options(self) -> RuntimeOptions:
        auth = self.runtime_auth.get_secret_value() if self.runtime_auth else None
        username, _, password = auth.partition(":") if auth else (None, None, None)
        key = self.runtime_api_key.get_secret_value() if self.runtime_api_key else None
        return RuntimeOptions(
            base_url=self.runtime_url,
            username=username,
            password=password,
            api_key=key,
            switch_models=self.switch_models,
        )

    def reference_policy(self) -> ReferencePolicy:
        return ReferencePolicy(
            allow=self.reference_allow,
            buckets=self.readable_buckets,
            max_bytes=self.reference_max_bytes,
            max_pixels=self.reference_max_pixels,
            timeout=self.reference_timeout,
        )

    def telemetry_options(self) -> TelemetryOptions:
        traces = self.traces or ("otlp" if self.otlp_endpoint else "off")
        if traces == "xray" and self.disable_xray:
            traces = "off"
        served = self.health_port != 0
        metrics = self.metrics
        if not served and metrics in {"prometheus", "both"}:
            metrics = "otlp" if metrics == "both" else "off"
        return TelemetryOptions(traces, metrics, self.otlp_endpoint, self.otlp_protocol)

    def webhook_policy(self) -> WebhookPolicy:
        secret = self.webhook_secret
        return WebhookPolicy(
            hosts=self.webhook_hosts,
            secret=SigningSecret.parse(secret.get_secret_value()) if secret else None,
            trusted=self.reference_allow,
        )


def environment_names(field: str) -> tuple[str, ...]:
    """The environment variables that a setting is read from, the first found wins."""
    alias = Settings.model_fields[field].validation_alias
    assert isinstance(alias, AliasChoices)  # noqa: S101  _setting makes no other
    return tuple(str(name) for name in alias.choices)


def _explain(cls: type[Settings], error: PydanticValidationError) -> list[str]:
    lines = []
    for fault in error.errors(include_url=False):
        field = _field_of(cls, str(fault["loc"][0]))
        names = " or ".join(environment_names(field))
        description = cls.model_fields[field].description
        if fault["type"] == "missing":
            lines.append(f"{names} is not set: {description}")
        else:
            problem = fault["msg"].removeprefix("Value error, ")
            lines.append(f"{names}: {problem}. {description}")
    return lines


def _field_of(cls: type[Settings], location: str) -> str:
    return next(
        field
        for field in cls.model_fields
        if location == field or location in environment_names(field)
    )
