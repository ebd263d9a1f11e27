"""Tenants share no ids: what one names is nothing to another, whether it exists or not."""

import json
from typing import Any

import pytest

from gateway_bench import KEYS, Gateways, client_of
from queue_agent.gateway.keys import KeyFile, digest_of
from queue_agent.wire.job import parse_job


def job(job_id: str | None, prompt: str = "a") -> dict[str, Any]:
    return {"metadata": {"id": job_id, "context": "secret"}, "content": {"prompt": prompt}}


@pytest.mark.parametrize("job_id", ["a", "order-7", "A" * 64, "one", "two", "x.y", "1-a"])
async def test_two_tenants_may_use_the_same_id_for_jobs_of_their_own(
    gateways: Gateways, job_id: str
) -> None:
    app = await gateways.start(keys=True)
    async with client_of(app, "one") as one, client_of(app, "two") as two:
        first = await one.post("/v1/jobs", json=job(job_id, "mine"))
        second = await two.post("/v1/jobs", json=job(job_id, "yours"))
        assert (first.status_code, second.status_code) == (202, 202)
        assert (await one.get(f"/v1/jobs/{job_id}")).json()["content"] == {"prompt": "mine"}
        assert (await two.get(f"/v1/jobs/{job_id}")).json()["content"] == {"prompt": "yours"}
    ids = [parse_job(sent.body).id for sent in gateways.cloud.topic("jobs").published]
    assert ids == [f"one.{job_id}", f"two.{job_id}"]


@pytest.mark.parametrize("name", ["one.a", "a", "two.one.a", "two.a"])
async def test_a_job_of_another_answers_as_one_that_does_not_exist(
    gateways: Gateways, name: str
) -> None:
    app = await gateways.start(keys=True)
    async with client_of(app, "one") as one, client_of(app, "two") as two:
        assert (await one.post("/v1/jobs", json=job("a"))).status_code == 202
        for method, path in (
            ("GET", ""), ("DELETE", ""), ("GET", "/events"), ("POST", "/wait"), ("GET", "/images/1")
        ):  # fmt: skip
            theirs = await two.request(method, f"/v1/jobs/{name}{path}")
            missing = await two.request(method, f"/v1/jobs/no-such-job{path}")
            assert theirs.status_code == missing.status_code == 404
            assert without_id(theirs.json()) == without_id(missing.json())
        assert (await two.get("/v1/jobs")).json()["jobs"] == []
    assert not [key for key in gateways.bucket.objects if key.startswith("cancelled/")]


@pytest.mark.parametrize("taken", ["a", "one.a", "one", "two.a"])
async def test_asking_for_an_id_of_anothers_tells_nothing_and_takes_nothing(
    gateways: Gateways, taken: str
) -> None:
    app = await gateways.start(keys=True)
    async with client_of(app, "one") as one, client_of(app, "two") as two:
        squatted = await two.post("/v1/jobs", json=job(taken, "squatted"))
        first = await one.post("/v1/jobs", json=job("a", "mine"))
        again = await two.post("/v1/jobs", json=job(taken, "squatted"))
        assert [answer.status_code for answer in (squatted, first, again)] == [202] * 3
        assert squatted.json()["id"] == again.json()["id"] != first.json()["id"]
        assert squatted.json()["output_location"] != first.json()["output_location"]


@pytest.mark.parametrize("key", ["1", "order-7", "ä", " ", "a" * 255])
async def test_an_idempotency_key_is_its_owners_alone(gateways: Gateways, key: str) -> None:
    app = await gateways.start(keys=True)
    headers = {b"Idempotency-Key": key.encode()}
    async with client_of(app, "one") as one, client_of(app, "two") as two:
        first = await one.post("/v1/jobs", json=job(None, "mine"), headers=headers)
        same = await one.post("/v1/jobs", json=job(None, "mine"), headers=headers)
        name = first.json()["id"]
        for squatting in (name, name.partition(".")[2]):
            await two.post("/v1/jobs", json=job(squatting, "squatted"))
        theirs = await two.post("/v1/jobs", json=job(None, "yours"), headers=headers)
        after = await one.post("/v1/jobs", json=job(None, "mine"), headers=headers)
    assert first.json()["id"] == same.json()["id"] == after.json()["id"]
    assert theirs.status_code == after.status_code == 202
    assert theirs.json()["id"] != first.json()["id"]


@pytest.mark.parametrize("job_id", ["A" * 125, "A" * 128, ".a", ".a.b"])
async def test_an_id_that_is_none_with_the_name_before_it_is_refused(
    gateways: Gateways, job_id: str
) -> None:
    app = await gateways.start(keys=True)
    async with client_of(app, "one") as client:
        answer = await client.post("/v1/jobs", json=job(job_id))
    assert answer.status_code == 422
    assert "metadata.id" in answer.json()["detail"]


async def test_without_keys_ids_stay_as_they_are(gateways: Gateways) -> None:
    async with client_of(await gateways.start()) as client:
        assert (await client.post("/v1/jobs", json=job("order-7"))).json()["id"] == "order-7"
        assert (await client.get("/v1/jobs/order-7")).status_code == 200


async def test_another_content_under_an_id_of_ones_own_is_a_conflict(gateways: Gateways) -> None:
    async with client_of(await gateways.start(keys=True), "one") as client:
        await client.post("/v1/jobs", json=job("a"))
        assert (await client.post("/v1/jobs", json=job("a", "other"))).status_code == 409
        assert (await client.post("/v1/jobs", json=job("one.a", "other"))).status_code == 409


def test_no_key_may_have_the_name_of_those_without_keys() -> None:
    entry = {"name": "everyone", "sha256": digest_of(KEYS["one"])}
    with pytest.raises(ValueError, match="those who have no key"):
        KeyFile.model_validate_json(json.dumps({"keys": [entry]}))


def without_id(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in problem.items() if name != "request_id"}


@pytest.mark.parametrize("said", [None, "two", "", 7])
async def test_the_tenant_of_a_job_is_the_name_of_its_key_whatever_it_says(
    gateways: Gateways, said: object
) -> None:
    app = await gateways.start(keys=True)
    body = {"metadata": {"tenant": said}, "content": {"prompt": "a"}}
    async with client_of(app, "one") as one:
        assert (await one.post("/v1/jobs", json=body)).status_code == 202
    (sent,) = gateways.cloud.topic("jobs").published
    assert (sent.ordering.tenant, parse_job(sent.body).metadata.tenant) == ("one", "one")


@pytest.mark.parametrize("path", ["/sdapi/v1/txt2img", "/v1/images/generations"])
async def test_the_routes_of_other_servers_tell_the_tenant_too(
    gateways: Gateways, path: str
) -> None:
    app = await gateways.start(keys=True, sync_timeout=0.01)
    async with client_of(app, "two") as two:
        await two.post(path, json={"prompt": "a"})
    (sent,) = gateways.cloud.topic("jobs").published
    assert sent.ordering.tenant == "two"


@pytest.mark.parametrize(
    ("said", "tenant"), [("blue", "blue"), (None, "house"), ("", "house"), (7, "7")]
)
async def test_without_keys_a_job_says_whose_it_is_or_else_the_operator(
    gateways: Gateways, said: object, tenant: str
) -> None:
    app = await gateways.start(tenant="house")
    body = {"metadata": {"tenant": said}, "content": {"prompt": "a"}}
    async with client_of(app) as client:
        assert (await client.post("/v1/jobs", json=body)).status_code == 202
    (sent,) = gateways.cloud.topic("jobs").published
    assert sent.ordering.tenant == tenant


async def test_a_gateway_that_is_not_fair_tells_no_queue_of_tenants(gateways: Gateways) -> None:
    app = await gateways.start(keys=True, fair=False)
    async with client_of(app, "one") as one:
        assert (await one.post("/v1/jobs", json=job("a"))).status_code == 202
    (sent,) = gateways.cloud.topic("jobs").published
    assert (sent.ordering.tenant, parse_job(sent.body).metadata.tenant) == ("", "one")
