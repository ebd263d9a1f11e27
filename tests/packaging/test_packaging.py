"""What users get: the wheel, and imports that cost only what they need."""

import configparser
import email.parser
import json
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path, PurePosixPath

import pytest

PROJECT = Path(__file__).parents[2]
HEAVY = {"accelerate", "diffusers", "fastapi", "moto", "torch", "transformers", "uvicorn"}
WITHOUT_TORCH = ["cog", "comfyui", "diffusers", "openai", "triton", "webui"]


@pytest.fixture
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def metadata(wheel: Path, file: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(f".dist-info/{file}"))
        return archive.read(path).decode()


def test_the_wheel_holds_the_packages_and_nothing_else(names: list[str]) -> None:
    tops = {PurePosixPath(name).parts[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "queue_agent",
        "queue_agent_diffusers",
        "queue_agent_runtimes",
    }


def test_the_wheel_holds_no_tests_and_no_bytecode(names: list[str]) -> None:
    files = [PurePosixPath(name) for name in names]
    assert [file for file in files if file.name.startswith(("test_", "conftest"))] == []
    assert [file for file in files if file.suffix == ".pyc"] == []


def test_the_wheel_tells_type_checkers_that_all_packages_are_typed(names: list[str]) -> None:
    packages = ("queue_agent", "queue_agent_diffusers", "queue_agent_runtimes")
    assert {f"{package}/py.typed" for package in packages} <= set(names)


def test_the_wheel_registers_the_command_and_the_bundled_runtimes(wheel: Path) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    declared = configparser.ConfigParser()
    declared.read_string(metadata(wheel, "entry_points.txt"))
    assert dict(declared["console_scripts"]) == project["scripts"]
    assert {**declared["queue_agent.runtimes"]} == project["entry-points"]["queue_agent.runtimes"]
    assert set(declared["queue_agent.runtimes"]) >= set(WITHOUT_TORCH)


def test_the_wheel_carries_its_licence(wheel: Path) -> None:
    headers = email.parser.Parser().parsestr(metadata(wheel, "METADATA"))
    assert headers["License-Expression"] == "Apache-2.0"
    assert "Apache License" in metadata(wheel, "licenses/LICENSE")


@pytest.mark.parametrize(
    "file",
    [
        "constraints.txt",
        "tests/charts/checkov-constraints.txt",
        "tests/triton_server/constraints.txt",
    ],
)
def test_every_version_in_constraints_is_exact(file: str) -> None:
    lines = (PROJECT / file).read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if pin.count("==") != 1 or "+" in pin or "*" in pin] == []


def modules_after(statement: str) -> set[str]:
    code = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True
    )
    return set(json.loads(answer.stdout))


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    assert modules_after("import queue_agent.cli.app") & HEAVY == set()


def test_the_command_line_starts_without_opentelemetry_and_the_agent_without_its_sdk() -> None:
    started = modules_after("import queue_agent.cli.app")
    assert [name for name in started if name.startswith("opentelemetry")] == []
    heavy = ("opentelemetry.sdk", "opentelemetry.exporter", "prometheus_client", "grpc")
    running = modules_after("import queue_agent.cli.run")
    assert [name for name in running if name.startswith(heavy)] == []


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_a_bundled_adapter_loads_nothing_heavy(name: str) -> None:
    (adapter,) = entry_points(group="queue_agent.runtimes", name=name)
    assert modules_after(f"import {adapter.module}") & HEAVY == set()


def test_the_adapters_load_one_http_client() -> None:
    adapters = {point.module for point in entry_points(group="queue_agent.runtimes")}
    loaded = modules_after(f"import {', '.join(sorted(adapters))}")
    assert "aiohttp" in loaded
    assert loaded & {"httpx", "httpx2", "httpcore", "httpcore2"} == set()


def test_the_wheel_holds_the_tiny_model_and_it_is_small(wheel: Path) -> None:
    folder = PROJECT / "runtimes/queue_agent_diffusers/tiny/model"
    files = {path.relative_to(PROJECT / "runtimes") for path in folder.rglob("*") if path.is_file()}
    assert {path.name for path in files} >= {"model_index.json", "model.safetensors"}
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.compress_size for info in archive.infolist()}
    assert {str(path) for path in files} <= set(sizes)
    assert sum(sizes[str(path)] for path in files) < 2**20
