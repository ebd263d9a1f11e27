"""What a job asked for is answered whole, so that the like can be asked for once more."""

from typing import Any

import pytest

from gateway_bench import Gateways, client_of
from queue_agent.cloud.memory import MemoryBucket
from queue_agent.cloud.memory.faults import Operation
from queue_agent.wire.errors import Unavailable

LONG = "a very long walk along the sea, " * 400
PICTURE = "data:image/png;base64," + "A" * 9_000


def of_one(folder: str, bucket: MemoryBucket) -> list[str]:
    return [key for key in bucket.objects if key.startswith(f"gateway/{folder}/")]


@pytest.mark.parametrize(
    "content",
    [
        {"prompt": "a", "seed": -1, "loras": [{"name": "ink", "weight": 0.7}]},
        {"prompt": LONG, "steps": 3},
        {"prompt": "a", "init_images": [PICTURE], "mask": PICTURE},
        {"prompt": "a", "init_images": ["s3://images/inputs/cat.png"], "extra": {"a": [LONG]}},
        {f"field-{number}": "x" * 4_000 for number in range(20)},
    ],
    ids=["short", "long prompt", "images", "a long text within", "many texts"],
)
async def test_content_comes_back_as_it_was_asked(
    gateways: Gateways, content: dict[str, Any]
) -> None:
    app = await gateways.start()
    metadata = {
        "id": "one", "prefix": "shop/a", "context": {"a": 1}, "priority": "high",
        "output": {"format": "webp"}, "expires_at": "2126-01-01T00:00:00Z",
        "deadline": "2126-01-01T00:00:00Z",
    }  # fmt: skip
    async with client_of(app) as api:
        await api.post("/v1/jobs", json={"metadata": metadata, "content": content})
        asked = (await api.get("/v1/jobs/one/request")).raise_for_status().json()
        assert asked["content"] == content
        assert asked["metadata"] == {
            "tasktype": "image-to-image" if "init_images" in content else "text-to-image",
            "runtime": "sdruntime", "prefix": "shop/a", "context": {"a": 1}, "priority": "high",
            "output": {"format": "webp"},
        }  # fmt: skip
        again = (await api.post("/v1/jobs", json=asked)).raise_for_status().json()
        assert again["id"] != "one", "another job"
        asked_again = (await api.get(f"/v1/jobs/{again['id']}/request")).json()
        assert asked_again == asked


async def test_lists_show_how_long_texts_begin_and_no_files(gateways: Gateways) -> None:
    app = await gateways.start()
    content = {"prompt": LONG, "init_images": [PICTURE]}
    async with client_of(app) as api:
        shown = (await api.post("/v1/jobs", json={"content": content})).json()["content"]
        assert shown["prompt"].startswith("a very long walk along the sea, a very")
        assert shown["prompt"].endswith(f" … ({len(LONG)} characters)")
        assert len(shown["prompt"]) < 300
        assert shown["init_images"] == [f"({len(PICTURE)} characters)"]


async def test_any_gateway_knows_it(gateways: Gateways) -> None:
    first, second = await gateways.start(), await gateways.start()
    async with client_of(first) as api:
        job = (await api.post("/v1/jobs", json={"content": {"prompt": LONG}})).json()
    async with client_of(second) as api:
        asked = (await api.get(f"/v1/jobs/{job['id']}/request")).json()
        assert asked["content"]["prompt"] == LONG


async def test_nobody_sees_what_others_asked_for(gateways: Gateways) -> None:
    app = await gateways.start(keys=True)
    async with client_of(app, "one") as api:
        job = (await api.post("/v1/jobs", json={"content": {"prompt": LONG}})).json()
    async with client_of(app, "two") as api:
        for job_id in (job["id"], job["id"].removeprefix("one.")):
            assert (await api.get(f"/v1/jobs/{job_id}/request")).status_code == 404
    async with client_of(app) as api:
        assert (await api.get(f"/v1/jobs/{job['id']}/request")).status_code == 401


async def test_little_is_kept_twice(gateways: Gateways) -> None:
    app = await gateways.start()
    async with client_of(app) as api:
        await api.post("/v1/jobs", json={"content": {"prompt": "short"}})
        assert of_one("requests", gateways.bucket) == []


async def test_what_a_lifecycle_rule_took_is_said_to_be_gone(gateways: Gateways) -> None:
    app = await gateways.start()
    async with client_of(app) as api:
        job = (await api.post("/v1/jobs", json={"content": {"prompt": LONG}})).json()
        (key,) = of_one("requests", gateways.bucket)
        await gateways.bucket.delete(key)
        answer = await api.get(f"/v1/jobs/{job['id']}/request")
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (
            410,
            "request-gone",
        )


@pytest.mark.parametrize(
    ("operation", "matching"),
    [("topic.publish", ""), ("bucket.write", "gateway/requests/")],
)
async def test_a_job_that_is_not_taken_leaves_nothing(
    gateways: Gateways, operation: Operation, matching: str
) -> None:
    app = await gateways.start()
    refused = Unavailable("no", type="cloud_unauthorized")
    gateways.cloud.faults.fail(operation, refused, matching=matching)
    async with client_of(app) as api:
        answer = await api.post("/v1/jobs", json={"content": {"prompt": LONG}})
        assert answer.status_code >= 500
    assert of_one("requests", gateways.bucket) == of_one("jobs", gateways.bucket) == []
