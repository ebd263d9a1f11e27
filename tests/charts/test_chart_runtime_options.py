"""Options of the bundled runtime as values: what is rendered starts it with exactly these."""

import asyncio
import dataclasses
import os
import re
import sys
import uuid
from pathlib import Path
from typing import Any, Final

import helm_python
import httpx
import pytest
from chart_rendering import (
    BASE,
    CHART,
    Manifest,
    Values,
    containers,
    environment,
    example,
    merged,
    pod_templates,
    render,
)
from typer.testing import CliRunner

from diffusers_servers import LoadedServer, tiny_model
from queue_agent.testing.aws import REGION, EmbeddedCloud
from queue_agent_diffusers.__main__ import app
from queue_agent_diffusers.described import described_options
from queue_agent_diffusers.http import server as diffusers_server
from queue_agent_diffusers.options import Options

sys.path.insert(0, str(CHART.parent))
import chart_docs

KEPT: Final = ("PATH", "PYTHONPATH")
"""What the image would bring; nothing else of the tests' environment reaches the runtime."""


def runtime_of(values: Values) -> Manifest:
    template = next(pod_templates(render(merged(example(BASE), values))))
    return containers(template)["runtime"]


def read_by_the_command(container: Manifest, patch: pytest.MonkeyPatch) -> tuple[str, Options, Any]:
    """The first model, the options, and what else the server is started with."""
    served: list[Any] = []
    patch.setattr(diffusers_server, "serve", lambda model, **rest: served.append((model, rest)))
    for name, value in environment(container).items():
        patch.setenv(name, value)
    ended = CliRunner().invoke(app, container["args"])
    assert ended.exit_code == 0, ended.output
    ((model, rest),) = served
    return model, rest.pop("options"), rest


def given(**options: Any) -> Values:
    return {"runtime": {"options": options}}


ALL: Final = {
    "model": ["/models/second", "org/third@v2"],
    "allowHost": ["images.example.com", "images"],
    "device": "cpu",
    "dtype": "bfloat16",
    "maxBatch": 3,
    "memoryLimit": 21.5,
    "idleUnload": 3_600_000,
    "loraDir": "/models/loras",
    "controlnet": ["edges=/models/edges", "depth=org/depth@v1#near=0"],
    "ipAdapter": ["style=org/adapter:models/a.safetensors,org/encoder"],
    "upscaler": ["x4=s3://example-models/x4"],
    "allowPickles": True,
    "cacheDir": "/models/cache",
    "speed": "compile",
    "quantize": "fp8",
    "attention": "cudnn",
    "channelsLast": True,
    "fuseProjections": False,
    "offload": "model",
    "weightsBy": "runai",
    "defaultQuality": "balanced",
    "lowestQuality": "balanced",
    "checkpointLimit": 12,
}


def test_every_option_reaches_the_runtime_by_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(ALL) == set(chart_docs.runtime_options()), "each has a sample here"
    container = runtime_of(merged(given(**ALL), {"cloud": {"region": "eu-west-1"}}))
    model, options, rest = read_by_the_command(container, monkeypatch)
    plain = Options()
    unset = [
        field.name
        for field in dataclasses.fields(Options)
        if getattr(options, field.name) == getattr(plain, field.name)
    ]
    assert unset == []
    assert model == "stabilityai/stable-diffusion-xl-base-1.0"
    assert options.more_models == ("/models/second", "org/third@v2")
    assert options.control_nets == {"edges": "/models/edges", "depth": "org/depth@v1"}
    assert options.control_modes == {"depth": {"near": 0}}
    assert (options.idle_unload, options.memory_limit) == (3_600_000, 21.5)
    assert (options.channels_last, options.fuse_projections) == (True, False)
    assert options.region == "eu-west-1"
    assert rest["allow_hosts"] == ["images.example.com", "images"]


def test_the_defaults_as_values_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {
        name: described["default"]
        for name, described in chart_docs.runtime_options().items()
        if "default" in described
    }
    assert len(defaults) > 5
    usual = read_by_the_command(runtime_of({}), monkeypatch)
    assert read_by_the_command(runtime_of(given(**defaults)), monkeypatch) == usual


def test_an_option_that_is_no_value_is_said_to_be_elsewhere() -> None:
    options = set(described_options())
    assert options - {
        re.sub("([A-Z])", r"-\1", it).lower() for it in chart_docs.runtime_options()
    } == set(chart_docs.OPTIONS_ELSEWHERE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weightBy": "runai"}, ["weightBy", "not allowed"]),
        ({"speed": "fast"}, ["speed", "eager"]),
        ({"maxBatch": 0}, ["maxBatch", "0"]),
        ({"controlnet": "edges=/models/edges"}, ["controlnet", "array"]),
        ({"channelsLast": "yes"}, ["channelsLast", "boolean"]),
        ({"port": 8080}, ["port", "not allowed"]),
    ],
)
def test_an_option_that_the_runtime_would_refuse_is_not_rendered(
    options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(helm_python.HelmValuesError) as refused:
        runtime_of(given(**options))
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_other_runtimes_have_none_of_these_options() -> None:
    with pytest.raises(helm_python.HelmError, match=r"runtime\.options: the preset comfyui"):
        render(merged(example("comfyui"), given(maxBatch=2)))


@pytest.mark.parametrize(
    ("models", "folder"),
    [
        ({"source": "scratch", "mountPath": "/data"}, ["--cache-dir=/data/fetched"]),
        (
            {"source": "claim", "claim": {"name": "c", "readOnly": False}},
            ["--cache-dir=/models/fetched"],
        ),
        ({"source": "claim", "claim": {"name": "c"}}, []),
        ({"source": "none"}, []),
    ],
)
@pytest.mark.parametrize(
    "runtime",
    [
        {"model": "s3://example-models/sdxl"},
        {"options": {"model": ["nats://nats:4222/models/sdxl"]}},
        {"options": {"upscaler": ["x4=s3://example-models/x4"]}},
    ],
)
def test_fetched_models_are_kept_where_there_is_room_for_models(
    models: Values, folder: list[str], runtime: Values
) -> None:
    args = runtime_of({"runtime": runtime, "models": models})["args"]
    assert [it for it in args if it.startswith("--cache-dir")] == folder


def test_the_region_is_told_to_a_runtime_that_reads_from_s3_and_can_be_another() -> None:
    stored = {"runtime": {"model": "s3://example-models/sdxl"}}
    assert environment(runtime_of(stored))["AWS_REGION"] == "us-west-2"
    assert "AWS_REGION" not in environment(runtime_of({}))
    own = {"runtime": {"extraEnv": [{"name": "AWS_REGION", "value": "us-east-1"}]}}
    named = [it["name"] for it in runtime_of(merged(stored, own))["env"]]
    assert named.count("AWS_REGION") == 1
    assert environment(runtime_of(merged(stored, own)))["AWS_REGION"] == "us-east-1"


async def _fill(embedded_cloud: EmbeddedCloud, name: str) -> None:
    cloud = embedded_cloud.connect()
    try:
        await (await cloud.client("s3")).create_bucket(Bucket=name)
        for path in tiny_model().rglob("*"):
            if path.is_file():
                key = f"tiny/{path.relative_to(tiny_model())}"
                await cloud.bucket(name).write(key, path.read_bytes(), media_type="x/y")
    finally:
        await cloud.aclose()


def test_the_runtime_starts_with_what_is_rendered_and_has_these_options(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    name = f"models-{uuid.uuid4()}"
    asyncio.run(_fill(embedded_cloud, name))
    (tmp_path / "loras").mkdir()
    options = {
        "model": ["org/other"],
        "maxBatch": 3,
        "memoryLimit": 0.5,
        "loraDir": f"{tmp_path}/loras",
        "channelsLast": True,
        "weightsBy": "fastsafetensors",
        "lowestQuality": "exact",
    }
    values: Values = {
        "cloud": {"region": REGION},
        "models": {"mountPath": str(tmp_path)},
        "runtime": {"model": f"s3://{name}/tiny", "port": 8123, "options": options},
    }
    container = runtime_of(values)
    assert container["command"] == ["queue-agent", "serve-diffusers"]
    # the pod's identity and the emulated cloud's address are not the chart's to give, and
    # another process may have the port
    system = {name: os.environ[name] for name in KEPT if name in os.environ}
    whole = {**system, **embedded_cloud.environment(), **environment(container)}
    words = [f"{name}={value}" for name, value in whole.items()]
    args = [it.replace("=8123", "={port}") for it in container["args"]]
    command = ["env", "-i", *words, sys.executable, "-m", "queue_agent", "serve-diffusers", *args]
    with LoadedServer(command) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        assert client.get("/health").json()["max_batch"] == 3
        first, second = client.get("/v1/models").json()["data"]
        assert first["id"] == f"s3://{name}/tiny"
        assert first["running"]["weights-by"] == "fastsafetensors"
        assert first["running"]["channels-last"] == "on"
        assert second["id"] == "org/other"
    assert [it.name for it in tmp_path.glob("fetched/*/*.json")] == ["model_index.json"]
