"""The extra `cdk` alone is enough to synthesise."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from assembly import CDK
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MODULES = sorted(path for path in CDK.rglob("*.py") if "cdk.out" not in path.parts)
OWN = {"image_service", "intake", "queue_agent"}
DISTRIBUTIONS = packages_distributions()
OF_LAMBDA = {"botocore"}
"""What Lambda's Python has, and the function's modules import there."""


def declared() -> set[str]:
    """Names of the distributions that `pip install .[cdk]` asks for by name."""
    project = tomllib.loads((CDK.parent / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["cdk"]]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def imported(path: Path) -> Iterator[str]:
    """Top-level packages that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CDK)))
def test_a_module_imports_only_what_the_extra_installs(path: Path) -> None:
    wanted = declared()
    for module in imported(path):
        name = module.partition(".")[0]
        if name in sys.stdlib_module_names | OWN:
            continue
        if name in OF_LAMBDA and path.is_relative_to(CDK / "intake"):
            continue
        distributions = map(canonicalize_name, DISTRIBUTIONS.get(name, ()))
        assert wanted.intersection(distributions), f"{module} is of no package in the extra cdk"


def test_make_synth_installs_nothing_but_the_extra() -> None:
    makefile = (CDK.parent / "Makefile").read_text()
    (needed,) = re.findall(r"(?m)^synth: (\S+) ##", makefile)
    (recipe,) = re.findall(rf"(?m)^{re.escape(needed)}:.*\n((?:\t.*\n)+)", makefile)
    assert re.findall(r"INSTALL\) (.*)", recipe) == ["--editable '.[cdk]'"]
