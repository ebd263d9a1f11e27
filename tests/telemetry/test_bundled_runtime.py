"""The bundled runtime's part of a trace."""

import secrets
from pathlib import Path

import httpx

from diffusers_servers import tiny_server
from harness import PATIENCE, scene
from queue_agent.testing.aws import EmbeddedCloud
from telemetry.collector import Collector

STAGES = ["queue", "encode", "steps", "decode"]
TRACE = "4" * 32


async def test_the_bundled_runtime_adds_a_span_for_each_stage(collector: Collector) -> None:
    server = tiny_server(environment=collector.environment())
    with server:
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
            body = {"prompt": "traced", "size": "64x64", "num_inference_steps": 2, "n": 2}
            headers = {"traceparent": f"00-{TRACE}-{'3' * 16}-01"}
            answer = await client.post("/v1/images/generations", json=body, headers=headers)
            assert answer.status_code == 200
        spans = {seen.name: seen for seen in await collector.trace_with("generate", *STAGES)}
    whole = spans["generate"]
    assert (whole.trace_id, whole.parent) == (TRACE, "3" * 16)
    assert [spans[stage].parent for stage in STAGES] == [whole.id] * 4
    starts = [spans[stage].span.start_time_unix_nano for stage in STAGES]
    assert starts == sorted(starts)


async def test_a_job_that_is_refused_by_the_model_says_so(collector: Collector) -> None:
    server = tiny_server(environment=collector.environment())
    with server:
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
            headers = {"traceparent": f"00-{TRACE}-{'3' * 16}-01", "X-Request-Id": "stopped"}
            body = {"prompt": "stopped", "size": "64x64", "num_inference_steps": 400}
            async with client.stream(
                "POST", "/v1/images/generations", json={**body, "stream": True}, headers=headers
            ) as answer:
                assert answer.status_code == 200
                assert (await client.delete("/v1/jobs/stopped")).status_code == 202
                await answer.aread()
        spans = {seen.name: seen for seen in await collector.trace_with("generate")}
    assert spans["generate"].failed
    assert spans["generate"].attributes["error.type"] == "RequestCancelled"


async def test_one_trace_holds_the_journey_and_the_bundled_runtimes_stages(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, collector: Collector
) -> None:
    name = f"traced-{secrets.token_hex(4)}"
    with tiny_server(environment=collector.environment()) as server:
        settings = {
            "QUEUE_AGENT_RUNTIME": "diffusers",
            "QUEUE_AGENT_RUNTIME_URL": server.url,
            **collector.environment(),
        }
        async with scene(embedded_cloud, name, tmp_path, settings) as stage:
            stage.start_agent()
            await stage.publish(stage.job("whole"), traceparent=f"00-{TRACE}-{'3' * 16}-01")
            assert (await stage.answer("whole"))["status"] == "completed"
            trace = await collector.trace_with("run", "generate", *STAGES, "acknowledge")
    spans = {seen.name: seen for seen in trace}
    assert spans["run"].trace_id == TRACE
    assert spans["generate"].parent == spans["run"].id
