"""What images and function are built from: known files, of the versions that are tested."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "requirements"
FILES = sorted(path.name for path in FOLDER.iterdir())
EXTRAS = {
    "agent": ("gateway", "nats", "telemetry", "video"),
    "diffusers": ("diffusers", "fastsafetensors", "fp8", "runai", "telemetry"),
}
SHA256 = re.compile(r"--hash=sha256:[0-9a-f]{64}")
OF_TORCH_ON_LINUX = re.compile(r"cuda-|nvidia-|triton$")
"""What torch brings on GPUs, and its build on a developer's machine does not."""
OFF_LINUX = {"colorama", "httpx2-jsfetch"}


def entries(file: str) -> dict[Requirement, list[str]]:
    """Requirements with the options that follow them, of lines as pip joins them."""
    text = re.sub(r"(?m)^ *#.*\n", "", (FOLDER / file).read_text()).replace("\\\n", "")
    found = {}
    for line in filter(None, text.splitlines()):
        requirement, *options = re.split(r"\s+(?=--)", line)
        found[Requirement(requirement)] = options
    return found


def pins(lines: str) -> dict[str, str]:
    found = re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", lines)
    return {canonicalize_name(name): version for name, version in found}


def test_each_image_the_build_and_the_function_have_their_file() -> None:
    assert FILES == ["agent.txt", "build.txt", "diffusers.txt", "intake.txt"]


@pytest.mark.parametrize("file", FILES)
def test_every_requirement_is_exact_and_has_hashes_and_nothing_else(file: str) -> None:
    found = entries(file)
    assert found
    for requirement, options in found.items():
        assert re.fullmatch(r"==[^*+,]+", str(requirement.specifier)), requirement
        assert requirement.url is None
        assert options, requirement
        assert [option for option in options if not SHA256.fullmatch(option)] == [], requirement


@pytest.mark.parametrize("file", FILES)
def test_the_versions_are_those_that_pass_the_tests(file: str) -> None:
    tested = pins((PROJECT / "constraints.txt").read_text())
    installed = pins((FOLDER / file).read_text())
    unknown = {name for name in installed if name not in tested}
    assert {name for name in unknown if not OF_TORCH_ON_LINUX.match(name)} <= OFF_LINUX
    differing = {name for name in installed.keys() & tested if installed[name] != tested[name]}
    assert differing == set(), "run: make hashes"


@pytest.mark.parametrize("image", EXTRAS)
def test_an_image_has_all_that_the_project_asks_for(image: str) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in EXTRAS[image]:
        wanted += project["optional-dependencies"][extra]
    found = {canonicalize_name(entry.name): entry for entry in entries(f"{image}.txt")}
    for requirement in map(Requirement, wanted):
        pinned = found[canonicalize_name(requirement.name)]
        (version,) = pinned.specifier
        assert requirement.specifier.contains(version.version), f"{requirement}: run: make hashes"


def test_the_agents_image_gets_no_torch() -> None:
    assert "torch" not in pins((FOLDER / "agent.txt").read_text())


def test_the_dockerfile_installs_nothing_without_hashes_but_the_project_itself() -> None:
    text = (PROJECT / "Dockerfile").read_text().replace("\\\n", "")
    installs = re.findall(r"pip (?:--python \S+ )?install ([^\n&]*)", text)
    assert len(installs) == 4
    for arguments in installs:
        of_hashes = "--require-hashes --only-binary :all: " in arguments
        assert set(re.findall(r"--no-binary (\S+)", arguments)) <= {"nkeys"}
        assert of_hashes or "--no-deps --no-index" in arguments, arguments
    assert {f"{name}.txt" for name in re.findall(r"-r (\w+)\.txt", text)} == set(FILES) - {
        "intake.txt"
    }


@pytest.mark.parametrize("file", FILES)
def test_what_the_requirements_require_is_there(file: str) -> None:
    names = {canonicalize_name(entry.name) for entry in entries(file)}
    missing = {
        f"{name} requires {needed}"
        for name in names - OFF_LINUX
        for text in requires(name)
        for needed in [Requirement(text)]
        if not needed.marker or needed.marker.evaluate({"extra": "", "sys_platform": "linux"})
        if canonicalize_name(needed.name) not in names
    }
    assert missing == set()


def requires(name: str) -> list[str]:
    """What the version installed here requires; nothing is known of what is not installed."""
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
