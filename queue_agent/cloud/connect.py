"""The provider that a process's environment names."""

from queue_agent.cloud import Cloud


def connect(region: str) -> Cloud:
    """The cloud that topics, queues and buckets of the settings belong to."""
    from queue_agent.cloud.aws import AwsCloud  # noqa: PLC0415  its SDK is slow to import

    return AwsCloud(region)
