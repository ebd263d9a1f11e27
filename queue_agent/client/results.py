"""Finished jobs, read from the bucket."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from pydantic import ValidationError

from queue_agent.cloud import Bucket
from queue_agent.wire.errors import ObjectNotFound
from queue_agent.wire.job import Job
from queue_agent.wire.layout import ResultKeys, is_manifest, manifests_begin
from queue_agent.wire.notification import Notification
from queue_agent.wire.result import Result


@dataclass(frozen=True)
class ResultLocation:
    """Which job's result is looked for, and where it will lie."""

    folder: str
    id: str
    digest: str | None = None
    """None where only the id is known; then the folder is searched."""
    former: str | None = None
    """A key that the first version named, whose manifests hold no digest."""

    @classmethod
    def of(cls, job: Job) -> "ResultLocation":
        keys = ResultKeys.of(job)
        return cls(keys.folder, keys.id, keys.digest)

    @property
    def manifests(self) -> tuple[str, ...]:
        """Where the manifest may lie; none where the digest is not known."""
        if self.digest is None:
            return ()
        return ResultKeys(self.folder, self.id, self.digest).manifests

    def has(self, result: Result) -> bool:
        """Whether it is the result of the very job that is looked for."""
        return self.digest is not None and result.is_of(self.id, self.digest)

    def ends_by(self, news: Notification) -> bool:
        """Whether what was heard may be this job's end: not that of another content's.

        The other must have its manifest elsewhere; one whose manifest could not be written is
        taken for this job's, unless it says that it has images.
        """
        if news.status == "running" or news.id != self.id:
            return False
        place = news.output_url or ""
        if self.digest is None or (not is_manifest(place) and not news.result):
            return True
        _, _, key = place.removeprefix("s3://").partition("/")
        return key in {*self.manifests, self.former}


async def find_result(bucket: Bucket, place: ResultLocation) -> Result | None:
    """The result, once there is one: of this id, and of all that the job asks if that is known.

    In a folder with the results of several contents under one id, a completed one is preferred.
    """
    if place.digest is None:
        found = [result async for result in _search(bucket, place)]
        return next((result for result in found if result.result), found[-1] if found else None)
    for key in place.manifests:
        result = await read_result(bucket, key)
        if result is None:
            break
        if place.has(result):
            return result
    if place.former is None:
        return None
    result = await read_result(bucket, place.former)
    is_former = result is not None and result.digest is None and result.id == place.id
    return result if is_former else None


async def forget_passing_failure(bucket: Bucket, place: ResultLocation) -> None:
    """Remove a result that another attempt would replace."""
    for key in place.manifests:
        result = await read_result(bucket, key)
        if result is not None and place.has(result) and not result.is_final:
            await bucket.delete(key)
        if result is None or place.has(result):
            return


async def _search(bucket: Bucket, place: ResultLocation) -> AsyncIterator[Result]:
    """All results of the id in its folder, whatever lies among and below them."""
    begin = manifests_begin(place.folder, place.id)
    last = ""
    while keys := await bucket.keys(begin, after=last):
        last = keys[-1]
        for key in keys:
            if not is_manifest(key) or "/" in key.removeprefix(begin):
                continue
            result = await read_result(bucket, key)
            if result is not None and _is_named(result, place, key):
                yield result


def _is_named(result: Result, place: ResultLocation, key: str) -> bool:
    """Whether the manifest under this key is of the job that the key names."""
    if result.id != place.id:
        return False
    if result.digest is None:  # of the first version, whose names have fewer digits
        return True
    return key in ResultKeys(place.folder, result.id, result.digest).manifests


async def read_result(bucket: Bucket, key: str) -> Result | None:
    """The result whose manifest lies there; None where there is none that can be read."""
    try:
        result = Result.model_validate_json(await bucket.read(key))
    except (ObjectNotFound, ValidationError):
        return None
    return _with_own_files(result, key.rpartition("/")[0])


def _with_own_files(result: Result, folder: str) -> Result:
    """The result without files that lie elsewhere than beside its manifest."""

    def is_own(url: str) -> bool:
        place, _, name = url.rpartition("/")
        return bool(name) and place.removeprefix("s3://").partition("/")[2] == folder

    if all(map(is_own, [*result.image_url, *(image.url for image in result.images)])):
        return result
    return result.model_copy(
        update={
            "images": [image for image in result.images if is_own(image.url)],
            "image_url": [url for url in result.image_url if is_own(url)],
        }
    )
