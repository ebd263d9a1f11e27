"""Settings that more than one program, or an option of a command, is told. Each stands once."""

from typing import Final

from queue_agent.settings.reader import Definition, Reader, setting
from queue_agent.settings.values import LogFormat, LogLevel

QUEUE_URL: Final = Definition(
    "QUEUE_URL",
    ("SQS_QUEUE_URL",),
    description="URL of the queue that jobs come from (on NATS nats://HOST/STREAM/RUNTIME).",
)
DEAD_LETTER_QUEUE_URL: Final = Definition(
    "DEAD_LETTER_QUEUE_URL",
    description="URL of the dead-letter queue of the queue that jobs come from.",
)
JOB_TOPIC: Final = Definition(
    "JOB_TOPIC_ARN",
    description="ARN of the topic that jobs are published to (on NATS nats://HOST/STREAM).",
)
NOTIFICATION_TOPIC: Final = Definition(
    "TOPIC_ARN",
    ("SNS_TOPIC_ARN",),
    description="ARN of the topic that notifications go to (on NATS nats://HOST/STREAM).",
)
BUCKET: Final = Definition(
    "BUCKET",
    ("S3_BUCKET",),
    description="Name of the bucket that results go to (on NATS nats://HOST/BUCKET).",
)
REGION: Final = Definition(
    "REGION",
    ("AWS_REGION", "AWS_DEFAULT_REGION"),
    description="Region of the bucket, and of queues and topics whose addresses name none; "
    "else the first that an address names.",
)
RUNTIME_NAME: Final = Definition(
    "RUNTIME_NAME",
    ("RUNTIME_NAME",),
    description="The `runtime` that jobs and notifications name. Agents refuse jobs for others; "
    "clients and gateways write it into jobs that name none.",
)
WORKFLOWS: Final = Definition(
    "WORKFLOWS",
    description="Folder of workflows that jobs ask for by name, each a file NAME.json.",
)
GATEWAY_HOST: Final = Definition("GATEWAY_HOST", description="Address that the gateway listens on.")
GATEWAY_PORT: Final = Definition("GATEWAY_PORT", description="Port that the gateway listens on.")
SCALER_HOST: Final = Definition("SCALER_HOST", description="Address that the scaler listens on.")
SCALER_PORT: Final = Definition("SCALER_PORT", description="Port that the scaler listens on.")


class LogSettings(Reader):
    """What a program that serves says of itself."""

    log_level: LogLevel = setting(
        "LOG_LEVEL",
        "LOGLEVEL",
        default="INFO",
        description="DEBUG, INFO, WARNING, ERROR or CRITICAL.",
    )
    log_format: LogFormat = setting(
        "LOG_FORMAT", default="auto", description="auto: console in a terminal, else json."
    )
