"""S3: the bucket that results go to and inputs come from."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, BinaryIO, Final

from botocore.exceptions import ClientError

from queue_agent.cloud import Bucket, ListedObject, ObjectPart, Sink, Versioned
from queue_agent.cloud.aws import wiring
from queue_agent.cloud.aws.errors import translated
from queue_agent.cloud.aws.signing import payload_digest
from queue_agent.cloud.aws.stores import StoreFacts
from queue_agent.media.asset import Asset
from queue_agent.wire.errors import (
    ObjectExists,
    ObjectNotFound,
    QueueAgentError,
    Rejected,
    Unavailable,
)

Client = Callable[..., Awaitable[Any]]
"""Makes one of a region, else of the cloud's own."""

_UNKNOWN: Final = "cloud_not_implemented"
"""The type of an error that says that the store does not know a condition."""
_BEHIND_THE_END: Final = "InvalidRange"
_UNCHANGED: Final = 304
_TOO_LARGE: Final = "reference_too_large"
_CHUNK: Final = 2**20
_PART: Final = 5 * 2**20
"""Bytes of a part of a large object: the fewest that S3 allows for any but the last."""


class S3Bucket(Bucket):
    """https://docs.aws.amazon.com/AmazonS3/latest/API/

    Payloads are left unsigned over TLS only, where a checksum guards them: the SDK's default.
    """

    def __init__(self, client: Client, name: str, stores: StoreFacts) -> None:
        self._client = client
        self._from_files = asyncio.Lock()
        """Held while a part of a file is in memory."""
        self.name = name
        self._stores = stores

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
        raise Rejected(f"{self.url(key)} has more than {limit} bytes.", type=_TOO_LARGE)

    async def read_changed(
        self, key: str, known: str | None = None, *, limit: int | None = None
    ) -> Versioned | None:
        """https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-reads.html"""
        s3 = await self._client()
        condition = {} if known is None else {"IfNoneMatch": known}
        with translated(f"read {self.url(key)}"):
            try:
                answer = await s3.get_object(Bucket=self.name, Key=key, **condition)
            except ClientError as error:
                if error.response["ResponseMetadata"].get("HTTPStatusCode") != _UNCHANGED:
                    raise
                return None
            async with answer["Body"] as body:
                data: bytes = await body.read(-1 if limit is None else limit + 1)
        if limit is not None and len(data) > limit:
            raise Rejected(f"{self.url(key)} has more than {limit} bytes.", type=_TOO_LARGE)
        version = str(answer["ETag"])
        return None if version == known else Versioned(data, version)

    async def read_range(self, key: str, start: int, size: int) -> ObjectPart:
        s3 = await self._client()
        asked = f"bytes={start}-{start + size - 1}"
        with translated(f"read {self.url(key)}"):
            try:
                answer = await s3.get_object(Bucket=self.name, Key=key, Range=asked)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != _BEHIND_THE_END:
                    raise
                told = await s3.head_object(Bucket=self.name, Key=key)
                return ObjectPart(b"", int(told["ContentLength"]))
            _, _, total = answer.get("ContentRange", "").rpartition("/")
            async with answer["Body"] as body:
                left = 0 if total else start  # of a store without ranges
                while left and (piece := await body.read(min(left, _CHUNK))):
                    left -= len(piece)
                found = io.BytesIO()
                while piece := await body.read(min(size - found.tell(), _CHUNK)):
                    found.write(piece)
                return ObjectPart(found.getvalue(), int(total or answer["ContentLength"]))

    async def write(
        self,
        key: str,
        data: bytes | Asset,
        *,
        media_type: str,
        create_only: bool = False,
        sha256: str | None = None,
    ) -> None:
        conditional = create_only and self.name not in self._stores.unconditional
        try:
            if create_only and not conditional and await self.exists(key):
                raise ObjectExists(f"{self.url(key)} exists.")
            await self._write(key, data, media_type, create_only=conditional, sha256=sha256)
        except Unavailable as error:
            if not (conditional and error.type == _UNKNOWN):
                raise
            self._stores.unconditional.add(self.name)
            await self.write(key, data, media_type=media_type, create_only=True, sha256=sha256)

    async def _write(
        self,
        key: str,
        data: bytes | Asset,
        media_type: str,
        *,
        create_only: bool,
        sha256: str | None = None,
    ) -> None:
        if isinstance(data, Asset) and data.size > _PART:
            await self._write_in_parts(key, data, media_type, create_only=create_only)
            return
        if isinstance(data, bytes) or isinstance(data.content, bytes):
            body = data if isinstance(data, bytes) else data.data
            await self._put(key, body, media_type, sha256, create_only=create_only)
            return
        async with self._from_files:
            body = await asyncio.to_thread(lambda: data.data)
            await self._put(key, body, media_type, sha256, create_only=create_only)

    async def _put(
        self, key: str, body: bytes, media_type: str, sha256: str | None, *, create_only: bool
    ) -> None:
        s3 = await self._client()
        with translated(f"write {self.url(key)}"), payload_digest(sha256):
            await s3.put_object(
                Bucket=self.name,
                Key=key,
                Body=body,
                ContentType=media_type,
                **_condition(create_only=create_only),
            )

    async def _write_in_parts(
        self, key: str, asset: Asset, media_type: str, *, create_only: bool
    ) -> None:
        """An upload in parts, which makes no object before it is completed.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html; a create is
        decided when it is completed, like that of a small object. What is not completed is
        aborted; what a killed agent left is for the bucket's lifecycle rule.
        """
        if create_only and await self.exists(key):  # else known only when all has been sent
            raise ObjectExists(f"{self.url(key)} exists.")
        s3 = await self._client()
        with translated(f"begin to write {self.url(key)}"):
            begun = await s3.create_multipart_upload(
                Bucket=self.name, Key=key, ContentType=media_type
            )
        upload = {"Bucket": self.name, "Key": key, "UploadId": begun["UploadId"]}
        try:
            parts = await self._send_parts(upload, asset)
            with translated(f"write {self.url(key)}"):
                await s3.complete_multipart_upload(
                    **upload,
                    MultipartUpload={"Parts": parts},
                    **_condition(create_only=create_only),
                )
        except BaseException:  # also when cancelled: what is left behind costs money
            await asyncio.shield(self._abort(upload))
            raise

    async def _send_parts(self, upload: dict[str, str], asset: Asset) -> list[dict[str, Any]]:
        s3, parts = await self._client(), []
        with asset.open() as file:
            for number in range(1, -(-asset.size // _PART) + 1):
                async with self._from_files:
                    part = await asyncio.to_thread(_read_part, file)
                    with translated(f"write part {number} of {self.url(upload['Key'])}"):
                        sent = await s3.upload_part(**upload, PartNumber=number, Body=part)
                parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        return parts

    async def _abort(self, upload: dict[str, str]) -> None:
        s3 = await self._client()
        with suppress(QueueAgentError), translated(f"abort {self.url(upload['Key'])}"):
            await s3.abort_multipart_upload(**upload)

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

    async def creates_once(self, key: str) -> bool:
        refuses, one_wins = await self._tried(key)
        if refuses:
            self._stores.unconditional.discard(self.name)
        else:
            self._stores.unconditional.add(self.name)
        return refuses and one_wins

    async def _tried(self, key: str) -> tuple[bool, bool]:
        """Whether a create of what exists is refused, and all but one at the same moment."""

        async def create() -> bool:
            try:
                await self._write(key, b"", "text/plain", create_only=True)
            except ObjectExists:
                return False
            except Unavailable as error:
                if error.type != _UNKNOWN:
                    raise
                return False
            return True

        try:
            created = [await create(), await create()]
            await self.delete(key)
            outcomes = await asyncio.gather(create(), create(), return_exceptions=True)
        except BaseException:
            with suppress(QueueAgentError):  # what went wrong first is what is told
                await self.delete(key)
            raise
        await self.delete(key)
        return created == [True, False], outcomes.count(True) == 1

    async def keys(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        return [found.key for found in await self.listing(prefix, after=after, limit=limit)]

    async def listing(
        self, prefix: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[ListedObject]:
        s3 = await self._client()
        token: dict[str, str] = {}
        while True:
            with translated(f"list {self.url(prefix)}"):
                answer = await s3.list_objects_v2(
                    Bucket=self.name, Prefix=prefix, StartAfter=after, MaxKeys=limit, **token
                )
            # some stores give what comes before, too
            page = [
                ListedObject(entry["Key"], _seconds(entry.get("LastModified")), entry.get("Size"))
                for entry in answer.get("Contents", ())
                if entry["Key"] > after
            ]
            if page or not answer.get("NextContinuationToken") or not answer.get("IsTruncated"):
                return page
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    async def longest_link(self) -> float | None:
        return await self._stores.credentials_life()

    async def presign(self, key: str, *, seconds: float) -> str:
        s3 = await self._client(self._stores.region_of(self.name))
        if (life := await self.longest_link()) is not None:
            seconds = max(1.0, min(seconds, life))
        with translated(f"presign {self.url(key)}"):
            url: str = await s3.generate_presigned_url(
                "get_object", Params={"Bucket": self.name, "Key": key}, ExpiresIn=round(seconds)
            )
        return url

    async def tells(self, queue_url: str) -> bool:
        return await wiring.tells(await self._client(), self.name, queue_url)


def _condition(*, create_only: bool) -> dict[str, str]:
    return {"IfNoneMatch": "*"} if create_only else {}


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _read_part(file: BinaryIO) -> bytes:
    return file.read(_PART)
