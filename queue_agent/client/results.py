"""Finished jobs, read from the bucket."""

from dataclasses import dataclass

from pydantic import ValidationError

from queue_agent.cloud import Bucket
from queue_agent.wire.errors import ObjectNotFound
from queue_agent.wire.job import Job
from queue_agent.wire.layout import ResultKeys, is_manifest
from queue_agent.wire.result import Result


@dataclass(frozen=True)
class ResultLocation:
    """Where a job's result will lie."""

    folder: str
    manifest: str | None = None
    """None where only the id is known; then the folder is searched."""

    @classmethod
    def of(cls, job: Job) -> "ResultLocation":
        keys = ResultKeys.of(job)
        return cls(keys.folder, keys.manifest)


async def find_result(bucket: Bucket, place: ResultLocation) -> Result | None:
    """The result, once there is one.

    In a folder with the results of several contents under one id, a completed one is preferred.
    """
    if place.manifest is not None:
        return await _read(bucket, place.manifest)
    keys = await bucket.keys(f"{place.folder}/")
    results = [await _read(bucket, key) for key in keys if is_manifest(key)]
    found = [result for result in results if result is not None]
    return next((result for result in found if result.result), found[-1] if found else None)


async def _read(bucket: Bucket, key: str) -> Result | None:
    try:
        return Result.model_validate_json(await bucket.read(key))
    except (ObjectNotFound, ValidationError):
        return None
