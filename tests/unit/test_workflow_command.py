"""`queue-agent workflow convert`."""

import json
from pathlib import Path

import pytest
from pydantic import JsonValue
from typer.testing import CliRunner

from queue_agent.wire.errors import Rejected
from queue_agent_runtimes.workflow_command import workflow

CLASSES: dict[str, JsonValue] = {
    "Show": {
        "input": {"required": {"text": ["STRING", {}], "image": ["IMAGE", {}]}},
        "output": [],
        "output_node": True,
        "python_module": "nodes",
    }
}
SAVED: dict[str, JsonValue] = {
    "nodes": [{"id": 1, "type": "Show", "widgets_values": ["hi"], "title": "Ähm"}],
    "links": [],
}


def run(tmp_path: Path, saved: JsonValue, classes: JsonValue) -> tuple[int, str, str]:
    (tmp_path / "saved.json").write_text(json.dumps(saved))
    (tmp_path / "info.json").write_text(json.dumps(classes))
    names = [str(tmp_path / "saved.json"), "--object-info", str(tmp_path / "info.json")]
    result = CliRunner().invoke(workflow, ["convert", *names], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_it_prints_the_api_form_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    code, printed, said = run(tmp_path, SAVED, CLASSES)
    assert code == 0
    assert json.loads(printed) == {
        "1": {"class_type": "Show", "inputs": {"text": "hi"}, "_meta": {"title": "Ähm"}}
    }
    assert said == "node 1 (Show): image is missing\n"


def test_a_workflow_that_cannot_be_converted_is_an_error_with_the_node(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r'node 1 \(Show, "Ähm"\): this server has no such class'):
        run(tmp_path, SAVED, {})


@pytest.mark.parametrize(("saved", "classes"), [(SAVED, [])])
def test_what_is_no_answer_of_a_server_is_said_so(
    tmp_path: Path, saved: JsonValue, classes: JsonValue
) -> None:
    code, _, said = run(tmp_path, saved, classes)
    assert code == 2
    assert "no answer" in said


def test_a_file_that_is_not_there_is_said_so() -> None:
    result = CliRunner().invoke(workflow, ["convert", "/nowhere.json", "--object-info", "/no.json"])
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr
