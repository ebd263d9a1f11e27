"""Every example becomes templates that CloudFormation and the rules of cdk-nag accept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from assembly import CDK, EXAMPLES, synthesised
from cfnlint.api import lint
from cfnlint.config import ManualArgs

PARTS = {"data", "cluster", "observability"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_becomes_a_stack_per_part_and_runtime(name: str) -> None:
    assembly = synthesised(name)
    parts = PARTS | {f"runtime-{runtime.name}" for runtime in assembly.config.runtimes}
    if assembly.config.api.enabled:
        parts.add("api")
    assert set(assembly.templates) == parts


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_rule_holds_or_is_acknowledged(name: str) -> None:
    assert synthesised(name).violations() == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_acknowledgement_gives_a_reason(name: str) -> None:
    for resource in synthesised(name).resources():
        nag = resource.body.get("Metadata", {}).get("cdk_nag", {})
        for rule in nag.get("rules_to_suppress", ()):
            assert len(rule["reason"].split()) >= 6, (resource.place, rule)


@pytest.mark.parametrize("name", EXAMPLES)
def test_cfn_lint_finds_no_error(name: str) -> None:
    assembly = synthesised(name)
    for part in assembly.templates:
        text = (assembly.folder / f"{assembly.config.name}-{part}.template.json").read_text()
        found = lint(text, config=ManualArgs(regions=[assembly.config.region]))
        errors = [str(match) for match in found if match.rule.id.startswith("E")]
        assert errors == [], part


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_other_partition_is_named(name: str) -> None:
    """ARNs are of the partition that is deployed to, except those the configuration gives."""
    config = synthesised(name).config
    given = config.model_dump_json()
    for part in synthesised(name).templates:
        text = (synthesised(name).folder / f"{config.name}-{part}.template.json").read_text()
        for word in text.split('"'):
            if word.startswith("arn:aws"):
                assert word in given, (part, word)


def test_make_synth_writes_the_templates_of_the_configuration(tmp_path: Path) -> None:
    """The README's command, in this environment and not in one that it makes."""
    environment = sys.prefix
    made = subprocess.run(
        [
            "make", "--no-print-directory", f"--old-file={environment}/.cdk", "synth",
            f"VENV={environment}",
        ],
        env={**os.environ, "CONFIG": "cdk/config.yaml", "OUT": str(tmp_path)},
        cwd=CDK.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert made.stdout == f"cdk/config.yaml: {tmp_path}/config\n"
    templates = {it.name for it in (tmp_path / "config").glob("*.template.json")}
    assert templates == {
        f"images-{part}.template.json" for part in (*PARTS, "api", "runtime-sdruntime")
    }


def test_the_app_ends_with_the_mistakes_of_the_configuration() -> None:
    context = json.dumps({"config": "absent.yaml"})
    app = subprocess.run(
        [sys.executable, CDK / "app.py"],
        env={**os.environ, "CDK_CONTEXT_JSON": context},
        capture_output=True,
        text=True,
        check=False,
    )
    assert app.returncode == 1
    assert "absent.yaml: " in app.stderr
    assert "Traceback" not in app.stderr
