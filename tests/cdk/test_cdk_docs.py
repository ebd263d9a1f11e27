"""What the README says of configuration is so, and its commands run as far as they can here."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from assembly import CDK, EXAMPLES
from image_service.config import Config
from image_service.timings import SPOT_LEFT

from queue_agent.cloud.queue_times import LONGEST_RUN
from queue_agent.wire.submission import Terms, complete, read_body

README = (CDK / "README.md").read_text()

NEED_AN_ACCOUNT = {"aws", "cdk", "curl", "helm", "hf", "key=$(aws", "kubectl"}
RUN_BY_TESTS = {
    "echo": "test_the_job_of_the_readme_is_taken",
    "find": "test_a_half_precision_model_of_the_hub_is_loaded_after_these_steps",
    "make": "test_make_synth_writes_the_templates_of_the_configuration",
    "python": "test_the_commands_of_the_readme_run",
}
ONLY_THERE = {
    "cd": "a folder that the links lead to",
    "python3": "test_make_synth_installs_nothing_but_the_extra",
}
"""`python3 -m venv` and the installation take minutes and a network."""


def programs() -> Iterator[str]:
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.split()[0]
    for span in re.findall(r"`((?:make|python) [^`]*)`", README):
        yield span.split()[0]


def test_every_command_is_run_by_a_test_or_needs_an_account() -> None:
    tests = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert set(programs()) <= NEED_AN_ACCOUNT | set(RUN_BY_TESTS) | set(ONLY_THERE)
    assert all(f"def {test}(" in tests for test in RUN_BY_TESTS.values())


def test_the_job_of_the_readme_is_taken(tmp_path: Path) -> None:
    (line,) = re.findall(r"(?m)^echo .*$", README)
    subprocess.run(line, shell=True, cwd=tmp_path, check=True)  # noqa: S602
    config = Config.load(CDK / "config.yaml")
    terms = Terms.among({runtime.name: runtime.folders for runtime in config.runtimes})
    job = complete(read_body((tmp_path / "job.json").read_text()), terms)
    assert job.metadata.runtime == "sdruntime"
    assert f"--data @{line.split()[-1]} " in README


def test_the_times_in_the_readme_are_the_formulas() -> None:
    assert f"at most {LONGEST_RUN:,} s" in README
    assert f"where nodes may be spot at most {SPOT_LEFT - 10} s" in README


@pytest.mark.parametrize("field", sorted(set(re.findall(r"`cluster\.(\w+)[`:]", README))))
def test_every_field_of_the_cluster_exists(field: str) -> None:
    assert field in type(Config.load(CDK / "config.yaml").cluster).model_fields


def test_every_example_is_shown() -> None:
    assert set(re.findall(r"\(examples/([\w-]+)\.yaml\)", README)) == set(EXAMPLES)


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (CDK / target).exists(), target
