"""Where buckets are, as the SDK finds out when it is sent from one region to another."""

from typing import Any


class BucketRegions:
    """The region that the requests for each bucket are signed for.

    The SDK follows such redirections itself, except in links that it signs.
    """

    def __init__(self) -> None:
        self._regions: dict[str, str] = {}

    def watch(self, client: Any) -> None:
        """Learn from the requests of an S3 client."""
        client.meta.events.register("before-sign.s3", self._signed)

    def of(self, bucket: str) -> str | None:
        """The bucket's region, once it has been asked for anything."""
        return self._regions.get(bucket)

    def _signed(self, request: Any, **_: object) -> None:
        region = request.context.get("signing", {}).get("region")
        bucket = request.context.get("s3_redirect", {}).get("bucket")
        if region and bucket:
            self._regions[bucket] = region
