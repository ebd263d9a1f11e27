"""The journey on NATS: the endings that are the same on any cloud, and servers that are killed."""

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from harness import PATIENCE, Scene, scene, until, webui_process, webui_settings
from journey.test_endings import (  # noqa: F401  collected here, with the fixture below
    plan_errors,
    test_a_cancel_marker_stops_a_running_job,
    test_a_duplicate_of_a_finished_job_is_only_notified_again,
    test_a_fault_that_passes_is_tried_again_in_place,
    test_a_fault_that_stays_a_while_releases_the_message_for_another_attempt,
    test_a_job_redriven_from_the_dead_letters_is_worked_on_again,
    test_a_job_that_the_runtime_refuses_fails_with_the_runtimes_own_words,
    test_a_published_job_becomes_an_image_a_manifest_and_a_notification,
    test_an_agent_killed_in_the_middle_of_a_job_leaves_it_to_the_next,
    test_an_idle_agent_ends_at_once_and_gives_nothing_away,
    test_the_last_allowed_attempt_ends_in_an_answer_and_among_the_dead_letters,
    test_without_dead_letters_an_exhausted_message_is_quarantined,
)
from nats_filling import ROOM, filled
from nats_proxy import NatsProxy
from queue_agent.client import Client
from queue_agent.testing.nats import NatsCluster, NatsServer
from queue_agent.testing.process import ServerProcess

BRIEF_LEASES: Final[dict[str, Any]] = {"visibility_timeout": 5, "max_receives": None}
"""Which end often where servers are disturbed; no job is given up for that."""


@pytest.fixture(scope="module")
def webui() -> Iterator[ServerProcess]:
    """One of this module's own: it may have seen the same prompts on another cloud."""
    with webui_process("--step-seconds", "0.02") as server:
        yield server


@pytest.fixture(scope="module")
def embedded_cloud(nats_server: NatsServer) -> NatsServer:
    """Of `stage`."""
    return nats_server


async def generations(webui: ServerProcess, prompt: str) -> int:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        runs = (await client.get(f"{webui.url}/fake/runs")).json()
    return sum(run["start"] is not None for run in runs if prompt in run["prompt"])


def client_of(stage: Scene) -> Client:
    deployment = stage.deployment
    return Client(
        stage.cloud,
        job_topic=deployment.job_topic,
        notification_topic=deployment.notification_topic,
        bucket=deployment.bucket,
        runtime=deployment.runtime_name,
    )


async def test_a_client_gets_its_images_and_nothing_is_left_in_the_queue(stage: Scene) -> None:
    stage.start_agent()
    async with client_of(stage) as client:
        job = await client.submit("a lighthouse", steps=2, width=64, height=64, batch_size=2)
        async with asyncio.timeout(PATIENCE):
            ended = await job.result()
        assert len(ended.images) == 2
        for image in ended.images:
            assert (await client.download(image))[:4] == b"\x89PNG"
    await stage.emptied()
    keys = await stage.bucket_keys()
    assert sum(key.endswith(".png") for key in keys) == 2
    assert sum(key.endswith(".out") for key in keys) == 1


async def test_a_job_too_large_for_the_server_goes_by_pointer(stage: Scene) -> None:
    stage.start_agent()
    async with client_of(stage) as client:
        context = "x" * 2**20
        job = await client.submit("large", context=context, steps=2, width=64, height=64)
        async with asyncio.timeout(PATIENCE):
            result = await job.result()
        assert result.images, result.error
        assert result.context == context
    assert any(key.startswith("payloads/") for key in await stage.bucket_keys())


@pytest.mark.parametrize("agent_too", [False, True], ids=["the server", "server and agent"])
async def test_jobs_outlive_that_the_server_is_killed_while_they_run(
    webui: ServerProcess, tmp_path: Path, agent_too: bool
) -> None:
    name = f"rt-{secrets.token_hex(4)}"
    with NatsServer(tmp_path / "nats", log=tmp_path / "server.log") as server:
        settings = webui_settings(webui.url)
        async with scene(server, name, tmp_path, settings, **BRIEF_LEASES) as stage:
            agent = stage.start_agent()
            ids = await several_jobs(stage)
            await until(lambda: generations(webui, name), what="a generation")
            server.kill()
            if agent_too:
                agent.kill()
                stage.start_agent()
            server.start()
            await all_completed(stage, ids)


@pytest.mark.parametrize("killed", ["the leader of the jobs", "another"])
async def test_jobs_outlive_that_one_of_three_servers_is_killed_for_good(
    webui: ServerProcess, tmp_path: Path, killed: str
) -> None:
    name = f"rt-{secrets.token_hex(4)}"
    with NatsCluster(tmp_path / "nats") as cluster:
        cloud = cluster.connect()
        await cluster.ready(cloud)
        settings = webui_settings(webui.url)
        options = {**BRIEF_LEASES, "replicas": cluster.replicas}
        async with scene(cluster, name, tmp_path, settings, **options) as stage:
            stage.start_agent()
            ids = await several_jobs(stage)
            await until(lambda: generations(webui, name), what="a generation")
            leader = await cluster.leader(cloud, f"{name}-jobs")
            others = [server for server in cluster.servers.values() if server is not leader]
            (leader if killed == "the leader of the jobs" else others[0]).kill()
            await all_completed(stage, ids)
        await cloud.aclose()


async def test_jobs_wait_while_the_servers_store_is_full(
    webui: ServerProcess, tmp_path: Path
) -> None:
    name = f"rt-{secrets.token_hex(4)}"
    with NatsServer(tmp_path / "nats", room=ROOM) as server:
        async with scene(server, name, tmp_path, webui_settings(webui.url)) as stage:
            stage.start_agent()
            await pause(webui, name)  # until nothing of them can be stored
            ids = await several_jobs(stage)
            async with filled(stage.cloud):
                await pause(webui, False)
                await until(lambda: says_there_is_no_room(stage), what="a word about the room")
                assert not stage.notifications
            await all_completed(stage, ids)


async def pause(webui: ServerProcess, where: str | bool) -> None:
    """Let no job go on whose prompt holds the text, or all."""
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        await client.post(f"{webui.url}/fake/paused", json=where)


async def says_there_is_no_room(stage: Scene) -> bool:
    return any("store more room" in log.read_text() for log in stage.folder.glob("agent-*.log"))


@pytest.mark.parametrize("server_does", ["answers late", "stalls", "cuts"])
async def test_jobs_outlive_a_server_that_is_slow_or_far(
    webui: ServerProcess, tmp_path: Path, server_does: str
) -> None:
    name = f"rt-{secrets.token_hex(4)}"
    with NatsServer(tmp_path / "nats", log=tmp_path / "server.log") as server:
        settings = webui_settings(webui.url)
        async with (
            scene(server, name, tmp_path, settings, **BRIEF_LEASES) as stage,
            NatsProxy(server.port) as proxy,
        ):
            told = stage.deployment.environment()
            through = {
                name: text.replace(server.address, proxy.address) for name, text in told.items()
            }
            if server_does == "answers late":
                proxy.latency = 0.2
            await asyncio.to_thread(lambda: stage.start_agent(**through))
            ids = await several_jobs(stage)
            await until(lambda: generations(webui, name), what="a generation")
            if server_does == "stalls":
                with proxy.stalling():
                    await asyncio.to_thread(stage.start_agent)  # which is not behind the proxy
                    await all_completed(stage, ids)
            elif server_does == "cuts":
                proxy.cut()
            await all_completed(stage, ids)


async def several_jobs(stage: Scene) -> list[str]:
    """Publish some whose prompts are their ids; the ids."""
    name = stage.deployment.runtime_name
    ids = [f"{name}-{number}" for number in range(4)]
    for job_id in ids:
        content = {"prompt": job_id, "steps": 40, "width": 64, "height": 64, "seed": 1}
        await stage.publish(stage.job(job_id, content))
    return ids


async def all_completed(stage: Scene, ids: list[str]) -> None:
    """Each is answered with its image, at most once by an answer that is not marked.

    A marked one may come first: the next delivery finds the result while the first one's answer
    is tried again.
    """
    answers = [await stage.answer(job_id) for job_id in ids]
    assert [answer["status"] for answer in answers] == ["completed"] * len(ids)
    for answer in answers:
        assert (await stage.manifest(answer))["status"] == "completed"
    await stage.emptied()
    await stage.caught_up()
    for job_id in ids:
        told = stage.answers(job_id)
        assert sum(not answer["redelivered"] for answer in told) <= 1, (told, stage.logs())
