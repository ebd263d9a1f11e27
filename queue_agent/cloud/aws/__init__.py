"""AWS: SQS, SNS and S3, or anything that speaks their protocols at ``AWS_ENDPOINT_URL``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from queue_agent.cloud.aws.cloud import AwsCloud

__all__ = ["AwsCloud"]


def __getattr__(name: str) -> Any:
    """Import on use: the SDK is slow to import, and addresses are judged without it."""
    if name == "AwsCloud":
        from queue_agent.cloud.aws.cloud import AwsCloud  # noqa: PLC0415

        return AwsCloud
    raise AttributeError(name)
