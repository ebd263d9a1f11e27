"""S3: the bucket that results go to and inputs come from."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from queue_agent.cloud import Bucket, Sink
from queue_agent.cloud.aws.errors import translated
from queue_agent.wire.errors import ObjectNotFound, Rejected

Client = Callable[[], Awaitable[Any]]

_CHUNK: Final = 2**20


class S3Bucket(Bucket):
    """https://docs.aws.amazon.com/AmazonS3/latest/API/

    Payloads are left unsigned over TLS only, where a checksum guards them: the SDK's default.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self.name = name

    async def read_into(self, key: str, sink: Sink, *, limit: int | None = None) -> None:
        s3 = await self._client()
        with translated(f"read {self.url(key)}"):
            answer = await s3.get_object(Bucket=self.name, Key=key)
            async with answer["Body"] as body:
                announced = int(answer.get("ContentLength") or 0)
                received = 0
                while limit is None or max(announced, received) <= limit:
                    if not (chunk := await body.read(_CHUNK)):
                        return
                    received += len(chunk)
                    await sink(chunk)
        raise Rejected(f"{self.url(key)} has more than {limit} bytes.", type="reference_too_large")

    async def write(
        self, key: str, data: bytes, *, media_type: str, create_only: bool = False
    ) -> None:
        s3 = await self._client()
        condition = {"IfNoneMatch": "*"} if create_only else {}
        with translated(f"write {self.url(key)}"):
            await s3.put_object(
                Bucket=self.name, Key=key, Body=data, ContentType=media_type, **condition
            )

    async def exists(self, key: str) -> bool:
        s3 = await self._client()
        try:
            with translated(f"look for {self.url(key)}"):
                await s3.head_object(Bucket=self.name, Key=key)
        except ObjectNotFound:
            return False
        return True

    async def delete(self, key: str) -> None:
        s3 = await self._client()
        with translated(f"delete {self.url(key)}"):
            await s3.delete_object(Bucket=self.name, Key=key)

    async def keys(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        s3 = await self._client()
        with translated(f"list {self.url(prefix)}"):
            answer = await s3.list_objects_v2(
                Bucket=self.name, Prefix=prefix, StartAfter=after, MaxKeys=limit
            )
        return [entry["Key"] for entry in answer.get("Contents", ())]

    async def presign(self, key: str, *, seconds: float) -> str:
        s3 = await self._client()
        with translated(f"presign {self.url(key)}"):
            url: str = await s3.generate_presigned_url(
                "get_object", Params={"Bucket": self.name, "Key": key}, ExpiresIn=round(seconds)
            )
        return url
