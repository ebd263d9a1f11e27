"""What `make images` asks of Docker, noted by a stand-in, since tests have no daemon."""

import os
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
VERSION = yaml.safe_load((PROJECT / "charts/queue-agent/Chart.yaml").read_text())["appVersion"]
REGISTRY = "registry.example.com/images"


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """The calls of a `docker` that has buildx and no builder, one a line."""
    calls = tmp_path / "calls"
    program = tmp_path / "docker"
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {shlex.quote(str(calls))}\n[ "$1 $2" != "buildx inspect" ]\n'
    )
    program.chmod(0o755)
    return calls


def make(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    system = os.environ["PATH"]
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=PROJECT,
        env={"PATH": f"{path}{os.pathsep}{system}" if path else system},
        capture_output=True,
        text=True,
        check=False,
    )


def builds(lines: str) -> dict[str, dict[str, str]]:
    """The options of each build, by its target."""
    found = {}
    for line in lines.splitlines():
        words = shlex.split(line.removeprefix("docker "))
        if words[:2] == ["buildx", "build"]:
            options = dict(pairwise(words))
            assert "--push" in words
            found[options["--target"]] = options
    return found


@pytest.mark.parametrize("registry", [REGISTRY, f"{REGISTRY}/"])
def test_both_images_are_pushed_with_the_tags_that_the_chart_asks_for(
    asked: Path, registry: str
) -> None:
    run = make("images", f"REGISTRY={registry}", path=asked.parent)
    assert run.returncode == 0, run.stderr
    found = builds(asked.read_text())
    assert {target: options["--tag"] for target, options in found.items()} == {
        "agent": f"{REGISTRY}/sd-queue-agent:{VERSION}",
        "diffusers": f"{REGISTRY}/sd-queue-agent:{VERSION}-diffusers",
    }


def test_the_agent_is_built_for_system_nodes_too_and_the_bundled_runtime_for_gpu_nodes(
    asked: Path,
) -> None:
    make("images", f"REGISTRY={REGISTRY}", path=asked.parent)
    platforms = {
        target: options["--platform"] for target, options in builds(asked.read_text()).items()
    }
    assert platforms == {"agent": "linux/amd64,linux/arm64", "diffusers": "linux/amd64"}


def test_a_builder_that_knows_several_platforms_is_made_before_it_is_used(asked: Path) -> None:
    make("images", f"REGISTRY={REGISTRY}", path=asked.parent)
    calls = asked.read_text().splitlines()
    made = [number for number, call in enumerate(calls) if call.startswith("buildx create")]
    used = [number for number, call in enumerate(calls) if call.startswith("buildx build")]
    assert len(made) == 1
    assert max(made) < min(used)
    assert "--driver docker-container" in calls[made[0]]


def test_a_dry_run_says_the_same_and_starts_nothing(asked: Path) -> None:
    said = make("--dry-run", "images", f"REGISTRY={REGISTRY}", path=asked.parent)
    assert not asked.exists()
    make("images", f"REGISTRY={REGISTRY}", path=asked.parent)
    assert builds(said.stdout) == builds(asked.read_text()) != {}


@pytest.mark.parametrize("arguments", [[], ["REGISTRY="]])
def test_without_a_registry_nothing_is_built(asked: Path, arguments: list[str]) -> None:
    run = make("images", *arguments, path=asked.parent)
    assert run.returncode != 0
    assert run.stderr.count("\n") == 1
    assert "the registry is missing" in run.stderr
    assert not asked.exists()


def test_docker_without_buildx_is_told_in_one_line(tmp_path: Path) -> None:
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    run = make("images", f"REGISTRY={REGISTRY}", path=tmp_path)
    assert run.returncode != 0
    assert run.stderr.splitlines()[0] == "Docker with buildx is needed to build the images"
