"""What is found out about object stores: where a bucket is, and what its store does not do."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class StoreFacts:
    """Shared by all buckets of a cloud, by their names."""

    credentials_life: Callable[[], Awaitable[float | None]]
    """Seconds until the credentials end that sign links now; None: they do not."""
    unconditional: set[str] = field(default_factory=set)
    """Buckets whose store takes a create of what exists, or knows no such condition."""
    _regions: dict[str, str] = field(default_factory=dict)

    def region_of(self, bucket: str) -> str | None:
        """Where the bucket is, once it has been asked for anything.

        The SDK goes from one region to another itself, except with links that it signs.
        """
        return self._regions.get(bucket)

    def watch(self, client: Any) -> None:
        """Learn from the requests of an S3 client."""
        client.meta.events.register("before-sign.s3", self._signed)

    def _signed(self, request: Any, **_: object) -> None:
        region = request.context.get("signing", {}).get("region")
        bucket = request.context.get("s3_redirect", {}).get("bucket")
        if region and bucket:
            self._regions[bucket] = region
