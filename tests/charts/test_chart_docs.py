"""The figures and names in the documents about deploying."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_rendering import CHART, HERE, kinds, merged, render

DOCS = HERE.parents[1] / "docs"
DEPLOYING = (DOCS / "deploying.md").read_text()
MIGRATING = (DOCS / "migrating-from-the-aws-guidance.md").read_text()


def rows(text: str, columns: int) -> list[list[str]]:
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return [row for row in cells if len(row) == columns]


VALUES = {
    path.name: blocks
    for path in sorted(DOCS.rglob("*.md"))
    if (blocks := re.findall(r"^```yaml\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL))
}
"""The blocks of values, by page."""


def test_pages_show_values() -> None:
    assert {"deploying.md", "migrating-from-the-aws-guidance.md"} <= VALUES.keys()


@pytest.mark.parametrize("page", VALUES)
def test_the_values_in_a_document_render(page: str) -> None:
    examples = [yaml.safe_load(block) for block in VALUES[page]]
    for values in examples:
        whole = values if "cloud" in values else merged(examples[0], values)
        assert {"Deployment", "ScaledObject"} <= kinds(render(whole))


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda path: path.name)
def test_every_value_that_a_page_names_exists(page: Path) -> None:
    if page.name.startswith("migrating"):  # names the guidance's, too; see below
        return
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    named = re.findall(r"`([a-z]\w*(?:\.\w+)+)(?:: [^`]*)?`", page.read_text())
    values = [name for name in named if name.partition(".")[0] in defaults]
    assert [name for name in values if not exists(name, defaults)] == []


def exists(name: str, values: Any) -> bool:
    """Whether it is a value, or lies in one that may hold anything or takes a preset's."""
    for key in name.split("."):
        if not isinstance(values, dict) or not values:
            return True
        if key not in values:
            return False
        values = values[key]
    return True


def test_the_migrated_release_brings_its_nodes_since_the_old_ones_are_tainted_and_go() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", MIGRATING, re.DOTALL)
    assert {"NodePool", "EC2NodeClass"} <= kinds(render(yaml.safe_load(text)))


def test_images_are_pushed_before_anything_is_installed_that_asks_for_them() -> None:
    pushed, installed = DEPLOYING.index("\nmake images "), DEPLOYING.index("\nhelm install ")
    assert pushed < installed
    assert re.search(r"^1\. Push the agent's image", MIGRATING, re.MULTILINE)


def test_the_cost_table_is_computed_as_it_says() -> None:
    table = [row for row in rows(DEPLOYING, 6) if re.match(r"[gp]\d", row[0])]
    assert [row[0].split(".")[0] for row in table] == ["g5", "g6", "g6e", "p4d", "p5"]
    for _instance, _gpu, gpus, hourly, per_gpu, per_thousand in table:
        assert float(per_gpu) == pytest.approx(float(hourly) / int(gpus), abs=0.0006)
        assert float(per_thousand) == pytest.approx(float(per_gpu) / 3.6, abs=0.0006)


def test_the_cost_of_a_wake_up_is_computed_from_the_defaults() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    idle = 180 + defaults["scaling"]["cooldownPeriod"] + 60
    assert defaults["karpenter"]["consolidateAfter"] == "60s"
    hourly = next(float(row[4]) for row in rows(DEPLOYING, 6) if row[0] == "g6.xlarge")
    assert f"{hourly * idle / 3600:.3f} USD on g6.xlarge" in DEPLOYING


def test_every_value_named_in_the_mapping_exists() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    names = [row[1].strip("`") for row in rows(MIGRATING, 3) if row[0].startswith("`")]
    assert len(names) > 50
    for name in names:
        place: Any = defaults
        for key in name.split("."):
            assert key in place, name
            place = place[key]


def test_links_between_the_documents_and_the_chart_lead_somewhere() -> None:
    for document in (DOCS / "deploying.md", CHART / "README.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert Path(document.parent, link).exists(), f"{document.name}: {link}"
