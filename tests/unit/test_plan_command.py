"""`queue-agent plan`."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from queue_agent.cli.app import app
from queue_agent.planning.arrivals import DAY, ExpectedJob, Shape, daily, read_csv, shaped
from queue_agent.planning.nodes import Circumstances
from queue_agent.planning.policy import CHART_WAIT, chart, fixed, limited, messages_for
from queue_agent.planning.recommend import recommend, values
from queue_agent.planning.simulation import Simulation
from queue_agent.wire.errors import SettingsError

PROJECT: Final = Path(__file__).parents[2]
CHART: Final = PROJECT / "charts" / "queue-agent"
PAGE: Final = (PROJECT / "docs" / "planning.md").read_text()


def run(*options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["plan", *options])
    return result.exit_code, result.output


def rows(text: str) -> dict[str, list[str]]:
    """The cells of a table's lines by the first one."""
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {line[0]: line[1:] for line in cells}


def test_it_compares_the_policies() -> None:
    code, said = run("--shape", "long")
    assert code == 0
    assert set(rows(said)) >= {"guidance", "before", "chart", "work", "oracle"}
    assert "recommended" not in rows(said)


@pytest.mark.parametrize("shape", ["burst", "tail", "long"])
def test_the_page_shows_what_the_command_prints(shape: str) -> None:
    said = rows(run("--shape", shape)[1])
    shown = PAGE.partition(f"`queue-agent plan --shape {shape}`:\n\n")[2].partition("\n\n")[0]
    for policy in ("guidance", "before", "chart", "work", "oracle"):
        assert rows(shown)[policy] == said[policy]


def test_the_page_names_the_assumptions_as_they_are() -> None:
    given = Circumstances()
    for option, value in {
        "--node-start": given.node_start,
        "--image-pull": given.image_pull,
        "--model-load": given.model_load,
        "--gpu-price": given.nodes[0].usd,
        "--interruptions": given.interruptions,
    }.items():
        assert re.search(rf"\| `{option}` \| {value:g} \|", PAGE), option
    for node in given.nodes[1:]:
        assert f"{node.usd}" in PAGE


def test_the_price_is_what_the_gpu_hours_cost() -> None:
    cheap = rows(run("--shape", "long", "--gpu-price", "0.5")[1])["oracle"]
    assert float(cheap[6]) == pytest.approx(600 / 3600 * 0.5 * 1000, abs=0.001)


def test_arrivals_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "jobs.csv"
    file.write_text("at,seconds\n1000,20\n1100,\n1050,30\n")
    assert read_csv(file, 5) == [ExpectedJob(0, 20), ExpectedJob(50, 30), ExpectedJob(100, 5)]
    code, said = run("--arrivals", str(file))
    assert code == 0
    assert said.startswith("3 jobs")


def test_a_spreadsheets_file_loses_no_job(tmp_path: Path) -> None:
    """It begins with a byte order mark, which is no heading."""
    file = tmp_path / "jobs.csv"
    file.write_text("1000,20\n1050,30,,modèle\n", encoding="utf-8-sig")
    assert read_csv(file, 5) == [ExpectedJob(0, 20), ExpectedJob(50, 30, model="modèle")]


def test_the_lengths_in_a_file_are_those_that_the_queues_length_follows(tmp_path: Path) -> None:
    """At the two seconds of `--seconds`, twelve of these jobs would share a pod."""
    file = tmp_path / "jobs.csv"
    file.write_text("at,seconds\n" + "0,600\n" * 20)
    code, said = run("--arrivals", str(file))
    assert code == 0
    long = rows(run("--shape", "long")[1])
    assert rows(said)["chart"] == long["chart"]


@pytest.mark.parametrize("text", ["", "at\n", "0\nsoon\n", "0\n1,-3\n", "0\nnan\n", "0,x\n1,x\n"])
def test_a_file_without_times_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "jobs.csv"
    file.write_text(text)
    with pytest.raises(SettingsError):
        read_csv(file, 5)


@pytest.mark.parametrize("row", ["1e300", "nan", "0,1e300", "0,inf", "0,1,1e300", "-1e18"])
@pytest.mark.parametrize("before", ["", "5\n"])
def test_times_of_no_world_are_refused_wherever_they_stand(
    tmp_path: Path, before: str, row: str
) -> None:
    """The first row, too, which is no heading then."""
    file = tmp_path / "jobs.csv"
    file.write_text(f"{before}{row}\n7\n")
    with pytest.raises(SettingsError, match=f"line {2 if before else 1}:"):
        read_csv(file, 5)


@pytest.mark.parametrize("text", ["0\n1e11\n", "0,1e11\n", "0,80000000\n" * 300])
def test_arrivals_that_take_years_are_refused_at_once(tmp_path: Path, text: str) -> None:
    file = tmp_path / "jobs.csv"
    file.write_text(text)
    result = CliRunner().invoke(app, ["plan", "--arrivals", str(file)])
    assert isinstance(result.exception, SettingsError)
    assert "800 are the most" in str(result.exception)


def test_more_jobs_than_can_be_simulated_are_refused_before_they_are_made() -> None:
    result = CliRunner().invoke(app, ["plan", "--jobs", "1e9", "--days", "366"])
    assert isinstance(result.exception, SettingsError)
    assert "fewer --days" in str(result.exception)


def test_a_fleet_that_loses_every_pod_before_its_job_is_done_is_given_up() -> None:
    slow = replace(fixed(1), sync=DAY, polling_interval=DAY)
    given = Circumstances(node_start=40 * DAY, interruptions=1)
    with pytest.raises(SettingsError, match="1 jobs are not done"):
        Simulation([ExpectedJob(0, DAY)], slow, given).run()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        read_csv(tmp_path / "nothing.csv", 5)


def test_a_file_may_say_within_what_each_job_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "jobs.csv"
    file.write_text("at,seconds,within\n10,20,30\n5,,60\n7\n")
    assert read_csv(file, 4) == [
        ExpectedJob(0, 4, 60),
        ExpectedJob(2, 4),
        ExpectedJob(5, 20, 30),
    ]


@pytest.mark.parametrize("within", ["0", "-1", "soon", "inf"])
def test_a_time_to_the_deadline_that_is_none_is_refused(tmp_path: Path, within: str) -> None:
    file = tmp_path / "jobs.csv"
    file.write_text(f"0\n1,2,{within}\n")
    with pytest.raises(SettingsError, match="line 2"):
        read_csv(file, 4)


def test_capacities_are_compared_where_spot_has_a_price() -> None:
    options = ("--days", "0.2", "--spot-price", "0.4024", "--interruptions", "1")
    code, said = run(*options)
    assert code == 0
    found = rows(said)
    demand, spot, split = (found[it] for it in ("all on demand", "all spot", "by deadline"))
    assert float(spot[0]) < float(demand[0])
    assert demand[2] == "0", "nobody takes on-demand nodes away"
    assert float(split[0]) <= float(demand[0])
    assert run(*options)[1] == said, "the same seed"


@pytest.mark.parametrize(
    "options",
    [
        ("--shape", "square"),
        ("--values", "x.yaml"),
        ("--spot-price", "0.4", "--plot", "x.svg"),
        ("--spot-price", "0.4", "--wait", "5", "--values", "x.yaml"),
        ("--days", "inf"),
        ("--days", "nan"),
        ("--jobs", "1e300"),
        ("--seconds", "1e300"),
        ("--node-start", "inf"),
        ("--node-start", "nan"),
        ("--model-load", "1e9"),
        ("--image-pull", "nan"),
        ("--gpu-price", "inf"),
        ("--spot-price", "nan"),
        ("--interruptions", "1e9"),
        ("--spot-price", "0.4", "--within", "nan"),
        ("--wait", "nan"),
        ("--wait", "inf"),
        ("--models", "2", "--switch", "inf"),
        ("--models", "1000000000"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: tuple[str, ...]) -> None:
    code, _ = run(*options)
    assert code == 2


def test_the_picture_has_two_lines_for_each_policy(tmp_path: Path) -> None:
    file = tmp_path / "plan.svg"
    assert run("--shape", "tail", "--plot", str(file))[0] == 0
    drawn = file.read_text()
    words = set(re.findall(r"<text [^>]*>([^<]*)</text>", drawn))
    assert words >= {"guidance", "before", "chart", "work", "oracle", "pods"}
    lines = re.findall(r'<polyline points="([^"]*)"', drawn)
    assert len(lines) == 2 + 2 * 5
    places = [tuple(map(float, place.split(","))) for points in lines for place in points.split()]
    assert all(0 <= x <= 840 and 0 <= y <= 590 for x, y in places)


def test_the_picture_is_a_png_where_the_file_is_called_so(tmp_path: Path) -> None:
    file = tmp_path / "plan.PNG"
    assert run("--shape", "long", "--plot", str(file))[0] == 0
    with Image.open(file) as image:
        assert (image.format, image.size) == ("PNG", (1680, 1180))
        colours = {colour for _, colour in image.getcolors(1_000_000) or ()}
    assert {(0xD6, 0x27, 0x28), (0x94, 0x67, 0xBD), (0xFF, 0x7F, 0x0E)} <= colours


def test_the_recommended_values_are_the_charts_and_say_the_policy(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    code, said = run("--shape", "tail", "--wait", "200", "--max-pods", "50", "--values", str(file))
    assert code == 0
    assert "recommended" in rows(said)
    written = yaml.safe_load(file.read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    usual = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(merged(usual, written), schema)
    found = limited(chart(merged(usual, written), 2), 50)
    assert found.one_gpu_nodes
    assert values(found) == file.read_text()
    assert written["scaling"]["maxReplicas"] == 50


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """As Helm merges values."""
    return {
        name: merged(below[name], value) if isinstance(value, dict) and below.get(name) else value
        for name, value in (below | above).items()
    }


def test_the_cheapest_that_keeps_the_wait_is_recommended() -> None:
    jobs = shaped(Shape.TAIL, jobs_a_month=0, seconds=2, days=0, seed=1)
    quick, slow = (
        recommend(jobs, Circumstances(), seconds=2, wait=wait, most=200) for wait in (160, 600)
    )
    assert quick.kept
    assert slow.kept
    assert quick.outcome.wait(95) <= 160
    assert slow.outcome.usd < quick.outcome.usd


def test_where_no_policy_keeps_the_wait_the_nearest_is_recommended_and_said_so() -> None:
    code, said = run("--shape", "tail", "--wait", "1")
    assert code == 0
    assert "No policy" in said
    assert float(rows(said)["recommended"][1]) <= float(rows(said)["chart"][1])


def test_the_daily_curve_has_its_mean_and_its_night() -> None:
    jobs = list(daily(1_000_000, 2, days=7, seed=1))
    assert len(jobs) == pytest.approx(1_000_000 * 7 / (365 / 12), rel=0.01)
    night = sum(job.at % DAY < DAY / 24 for job in jobs)
    noon = sum(abs(job.at % DAY - DAY / 2) < DAY / 48 for job in jobs)
    assert noon / night == pytest.approx(1.9 / 0.1, rel=0.2)


def test_the_charts_queue_length_follows_from_the_seconds_of_a_job_as_in_the_chart() -> None:
    usual = yaml.safe_load((CHART / "values.yaml").read_text())
    found = [chart(usual, seconds).queue_length for seconds in (2, 5, 24, 600)]
    assert found == [messages_for(CHART_WAIT, seconds) for seconds in (2, 5, 24, 600)]
    assert found == [12, 4, 1, 1]
    template = (CHART / "templates" / "_scaling.tpl").read_text()
    assert f"max 1 (int (floor (divf {CHART_WAIT:g} $scaling.jobSeconds)))" in template
    usual["scaling"]["queue"]["queueLength"] = 7
    assert chart(usual, 2).queue_length == 7


def test_larger_nodes_come_where_the_chart_allows_them() -> None:
    usual = yaml.safe_load((CHART / "values.yaml").read_text())
    assert chart(usual, 2).one_gpu_nodes
    usual["karpenter"]["gpusPerNode"] = [1, 4]
    assert not chart(usual, 2).one_gpu_nodes
