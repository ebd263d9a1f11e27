"""Jobs by HTTP: asked for, followed, listed, called off."""

import io
import secrets

import httpx
import pytest
from PIL import Image

from gateway_site import Content, Site, client_of, finished


async def test_a_job_is_accepted_worked_on_and_its_image_handed_out(
    api: httpx.AsyncClient, content: Content
) -> None:
    body = {"content": content("a lighthouse"), "metadata": {"context": {"customer": 42}}}
    answer = await api.post("/v1/jobs", json=body)
    assert answer.status_code == 202
    accepted = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{accepted['id']}"
    assert accepted["status"] in {"queued", "running", "completed"}
    view = await finished(api, accepted["id"])
    assert (view["status"], view["progress"], view["context"]) == (
        "completed",
        1.0,
        {"customer": 42},
    )
    assert view["content"] == body["content"]
    (image,) = view["images"]
    assert image["seed"] == 7
    for url in (image["href"], image["presigned_url"]):
        picture = await api.get(url)
        assert picture.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(picture.content)) as opened:
            assert opened.size == (image["width"], image["height"]) == (64, 64)


async def test_the_guidances_body_is_accepted_and_answered_in_its_shape(
    api: httpx.AsyncClient, content: Content, site: Site
) -> None:
    job_id, runtime = f"task-{secrets.token_hex(4)}", site.deployment.runtime_name
    metadata = {
        "id": job_id, "runtime": runtime, "tasktype": "text-to-image",
        "prefix": "output", "context": "",
    }  # fmt: skip
    answer = await api.post("/task", json={"task": {"metadata": metadata, "content": content("x")}})
    assert answer.status_code == 200
    assert answer.json() == {
        "id": job_id,
        "runtime": runtime,
        "output_location": f"s3://{site.deployment.bucket}/output/{job_id}",
    }
    view = await finished(api, job_id)
    assert view["output_url"].startswith(answer.json()["output_location"] + "/")


async def test_the_same_job_twice_is_one_and_another_under_its_id_is_refused(
    api: httpx.AsyncClient, content: Content
) -> None:
    body = {"metadata": {"id": f"same-{secrets.token_hex(4)}"}, "content": content("same")}
    first = (await api.post("/v1/jobs", json=body)).json()
    await finished(api, first["id"])
    again = await api.post("/v1/jobs", json=body)
    assert (again.status_code, again.json()["status"]) == (202, "completed")
    other = await api.post("/v1/jobs", json={**body, "content": content("other")})
    assert other.status_code == 409
    assert other.headers["content-type"] == "application/problem+json"
    assert other.json()["type"] == "urn:queue-agent:problem:id-taken"


async def test_an_idempotency_key_names_the_job(api: httpx.AsyncClient, content: Content) -> None:
    body, headers = {"content": content("once")}, {"Idempotency-Key": secrets.token_hex(8)}
    ids = {(await api.post("/v1/jobs", json=body, headers=headers)).json()["id"] for _ in range(2)}
    assert len(ids) == 1


async def test_a_job_the_runtime_refuses_tells_the_reason(
    api: httpx.AsyncClient, content: Content
) -> None:
    body = {"content": content("x", sampler_name="No such sampler")}
    view = await finished(api, (await api.post("/v1/jobs", json=body)).json()["id"])
    assert view["status"] == "failed"
    assert "ampler" in view["error"]["message"]


async def test_a_running_job_shows_its_progress_and_can_be_cancelled(
    api: httpx.AsyncClient, content: Content
) -> None:
    body = {"content": content("long", steps=1000, n_iter=20)}
    job_id = (await api.post("/v1/jobs", json=body)).json()["id"]
    async with api.stream("GET", f"/v1/jobs/{job_id}/events") as events:
        async for line in events.aiter_lines():
            if line == "event: running":
                break
    answer = await api.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")
    assert (await finished(api, job_id))["status"] == "cancelled"
    assert (await api.delete(f"/v1/jobs/{job_id}")).json()["status"] == "cancelled"


async def test_jobs_are_listed_the_newest_first_in_pages(
    api: httpx.AsyncClient, content: Content
) -> None:
    ids = []
    for number in range(3):
        body = {"content": content(f"listed {number}")}
        ids.append((await api.post("/v1/jobs", json=body)).json()["id"])
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        params: dict[str, str | int] = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/v1/jobs", params=params)).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next"]
    assert seen == ids[::-1]
    assert (await api.get("/v1/jobs", params={"cursor": "nonsense"})).status_code == 422


async def test_runtimes_tell_depth_and_throughput(
    api: httpx.AsyncClient, content: Content, site: Site
) -> None:
    job = (await api.post("/v1/jobs", json={"content": content("counted")})).json()
    await finished(api, job["id"])
    (runtime,) = (await api.get("/v1/runtimes")).json()["runtimes"]
    assert runtime["name"] == site.deployment.runtime_name
    assert set(runtime["queue"]) == {"waiting", "in_flight"}
    assert sum(runtime["throughput"]) >= 1
    assert runtime["seconds_per_job"] > 0


async def test_what_cannot_be_published_leaves_no_trace_and_takes_none_away(
    site: Site, api: httpx.AsyncClient, content: Content
) -> None:
    nowhere = site.start_gateway(
        QUEUE_AGENT_JOB_TOPIC_ARN=f"arn:aws:sns:us-east-1:123456789012:{secrets.token_hex(4)}"
    )
    body = {"metadata": {"id": f"new-{secrets.token_hex(4)}"}, "content": content("x")}
    taken = {"content": content("taken before", steps=1000, n_iter=20)}
    before = (await api.post("/v1/jobs", json=taken)).json()["id"]
    async with client_of(nowhere) as broken:
        failed = await broken.post("/v1/jobs", json=body)
        again = await broken.post("/v1/jobs", json={**taken, "metadata": {"id": before}})
        assert (await broken.get(f"/v1/jobs/{before}")).status_code == 200
    assert (failed.status_code, again.status_code) == (503, 503)
    assert int(failed.headers["retry-after"]) > 0
    assert (await api.get(f"/v1/jobs/{body['metadata']['id']}")).status_code == 404
    assert (await api.delete(f"/v1/jobs/{before}")).status_code == 202
    assert (await finished(api, before))["status"] == "cancelled"
    nowhere.stop()


async def test_an_image_that_is_no_longer_kept_is_gone(
    site: Site, api: httpx.AsyncClient, content: Content
) -> None:
    job = (await api.post("/v1/jobs", json={"content": content("short-lived")})).json()
    (image,) = (await finished(api, job["id"]))["images"]
    cloud = site.embedded.connect()
    try:
        bucket = cloud.bucket(site.deployment.bucket)
        await bucket.delete(image["url"].removeprefix(bucket.url("")))
    finally:
        await cloud.aclose()
    assert (await api.get(image["href"])).status_code == 410


@pytest.mark.parametrize(
    "job_id",
    [
        "%2e%2e",
        "a%2Fb",
        "a%00b",
        "%F0%9F%92%A5",
        "%",
        "x" * 129,
        "-",
        "a b",
        "..%2f..%2fetc",
        "%ED%A0%80",
    ],
)
@pytest.mark.parametrize("rest", ["", "/wait", "/events", "/images/1"])
async def test_ids_with_odd_characters_name_no_job(
    api: httpx.AsyncClient, job_id: str, rest: str
) -> None:
    method = "POST" if rest == "/wait" else "GET"
    answer = await api.request(method, f"/v1/jobs/{job_id}{rest}")
    assert answer.status_code in {404, 405}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 422),
        (b'{"content": 1}', 422),
        (b'{"content": {"prompt": NaN}}', 400),
        (b'{"content": {"prompt": "\\ud800"}}', 400),
        (b'{"content": {}, "metadata": {"id": "../x"}}', 422),
        (b'{"content": {}, "metadata": {"runtime": "nobody"}}', 422),
        (b'{"content": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}", 400),
        (b"\xff\xfe", 400),
    ],
)
async def test_a_body_that_is_no_job_is_refused_with_a_problem(
    api: httpx.AsyncClient, body: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json", "X-Request-Id": "mine-1"}
    answer = await api.post("/v1/jobs", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine-1"
    assert answer.json()["detail"]
