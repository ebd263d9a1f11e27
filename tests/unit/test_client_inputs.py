"""What publishers write down becomes jobs: defaults, files, payloads too large for the topic."""

import json
from pathlib import Path

import pytest
from pydantic import JsonValue

from queue_agent.client.inputs import Input, publication, upload_files
from queue_agent.cloud.memory import MemoryBucket
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import find_pointer, parse_job
from queue_agent.wire.pointer import POINTER_CLASSES
from queue_agent.wire.submission import make_job

PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)


@pytest.mark.parametrize(
    ("content", "task_type"),
    [
        ({"prompt": "x"}, "text-to-image"),
        ({"prompt": "x", "init_images": []}, "text-to-image"),
        ({"prompt": "x", "init_images": ["s3://b/k"]}, "image-to-image"),
        ({"image": "s3://b/k"}, "extra-single-image"),
        ({"imageList": [{"data": "s3://b/k"}]}, "extra-batch-images"),
    ],
)
def test_the_task_type_is_told_from_the_content(
    content: dict[str, JsonValue], task_type: str
) -> None:
    assert make_job(content, runtime="r").task_type == task_type
    assert make_job(content, runtime="r", task_type="pipeline").task_type == "pipeline"


def test_each_job_gets_an_id_of_its_own_unless_it_has_one() -> None:
    first, second = (make_job({"prompt": "x"}, runtime="r") for _ in range(2))
    assert first.id != second.id
    assert first.digest == second.digest
    assert make_job({}, runtime=None, job_id="mine").id == "mine"


@pytest.mark.parametrize(
    "wrong", [{"job_id": "../x"}, {"job_id": ""}, {"prefix": "a/../b"}, {"task_type": "No"}]
)
def test_what_no_agent_would_understand_is_not_published(wrong: dict[str, str]) -> None:
    with pytest.raises(Rejected):
        make_job({"prompt": "x"}, runtime="r", **wrong)  # type: ignore[arg-type]


def test_numbers_that_are_no_json_are_refused() -> None:
    with pytest.raises(Rejected, match="JSON"):
        make_job({"cfg_scale": float("nan")}, runtime="r")


async def test_files_anywhere_in_the_content_become_references(tmp_path: Path) -> None:
    bucket, file = MemoryBucket("shelf"), tmp_path / "cat.png"
    file.write_bytes(PNG)
    images: list[Input] = [file, "https://example.com/a.png"]
    content: dict[str, Input] = {"prompt": "x", "init_images": images, "deep": {"a": PNG}}
    uploaded = await upload_files(content, bucket)
    (key,) = bucket.objects
    assert key.startswith("inputs/")
    assert key.endswith(".png")
    assert bucket.objects[key] == (PNG, "image/png")
    url = f"s3://shelf/{key}"
    assert uploaded == {
        "prompt": "x",
        "init_images": [url, "https://example.com/a.png"],
        "deep": {"a": url},
    }


async def test_files_need_a_bucket_and_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bucket"):
        await upload_files({"image": PNG}, None)
    with pytest.raises(FileNotFoundError):
        await upload_files({"image": tmp_path / "none.png"}, MemoryBucket("shelf"))


async def test_a_payload_over_the_limit_is_offloaded_and_one_at_it_is_not() -> None:
    bucket, job = (
        MemoryBucket("shelf"),
        make_job({"prompt": "é" * 500}, runtime="r", job_id="large"),
    )
    whole = await publication(job, bucket, limit=100_000)
    assert parse_job(whole.body) == job
    assert (await publication(job, bucket, limit=whole.size)).body == whole.body
    assert bucket.objects == {}
    small = await publication(job, bucket, limit=whole.size - 1)
    pointer = find_pointer(small.body)
    assert json.loads(small.body)[0] == POINTER_CLASSES[0]
    assert pointer is not None
    assert parse_job(bucket.objects[pointer.key].data.decode()) == job
    assert small.attributes == {"runtime": "r"}
    with pytest.raises(ValueError, match="bucket"):
        await publication(job, None, limit=10)
