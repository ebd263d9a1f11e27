"""Descriptions of HTTP servers: what is wrong with one is said with line and field."""

import json
import re
from pathlib import Path
from textwrap import dedent

import jsonschema
import pytest
import yaml

from queue_agent.cli.check import check
from queue_agent.cli.run import run
from queue_agent.runtime import RuntimeOptions
from queue_agent.settings.agent import Settings
from queue_agent.wire.errors import SettingsError
from queue_agent_runtimes.http import HttpRuntime
from queue_agent_runtimes.http.declaration import Declaration
from queue_agent_runtimes.http.loading import (
    load_declaration,
    parse_declaration,
    shipped_declarations,
)

GOOD = """\
url: http://127.0.0.1:7000
health:
  path: /health
tasks:
  text-to-image:
    parameters:
      prompt: {type: string, words: true}
      steps: {type: integer, minimum: 1, default: 20}
    request:
      path: /paint
      json: {prompt: "${prompt}", steps: "${steps}"}
outputs:
  as: base64
  path: $.image
"""


def faults(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse_declaration(text, "own.yaml")
    return caught.value.message.splitlines()


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_the_descriptions_of_the_page_can_be_used() -> None:
    page = (Path(__file__).parents[2] / "docs" / "http-runtimes.md").read_text()
    blocks = [dedent(block) for block in re.findall(r"\n\n((?: {4}.*\n|\n(?= {4}))+)", page)]
    (whole,) = (block for block in blocks if "\ntasks:" in block)
    (polled,) = (block for block in blocks if "polling:" in block)
    declared = parse_declaration(f"{whole}\n{polled}", "page.yaml")
    assert declared.polling
    assert declared.polling.done == ("finished",)


def test_a_few_lines_describe_a_server() -> None:
    declared = parse_declaration(GOOD, "own.yaml")
    assert set(declared.tasks) == {"text-to-image"}
    assert declared.concurrency == 1


@pytest.mark.parametrize("name", sorted(shipped_declarations()))
def test_what_is_shipped_can_be_used(name: str) -> None:
    assert load_declaration(name).description


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "minimum: 1",
            "minimum: one",
            "own.yaml:8: tasks.text-to-image.parameters.steps.minimum: ",
        ),
        (
            "default: 20",
            "default: 0",
            "own.yaml:8: tasks.text-to-image.parameters.steps: default: ",
        ),
        ("type: integer", "type: whole", "own.yaml:8: tasks.text-to-image.parameters.steps: "),
        ("  path: /health", "  route: /health", "own.yaml:2: health.path: Field required"),
        (
            "path: /paint",
            "path: paint",
            "own.yaml:10: tasks.text-to-image.request.path: must begin",
        ),
        ("path: /paint", "path: /paint?a=1", "own.yaml:10: tasks.text-to-image.request.path: must"),
        ("path: $.image", "path: $.image[", "own.yaml:14: outputs.path: is no JSONPath: "),
        ("as: base64", "as: pixels", "own.yaml:13: outputs.as: "),
        ("as: base64", "as: body", "own.yaml:12: outputs: path: is needed unless"),
        ('"${steps}"', '"${step}"', "own.yaml:11: tasks.text-to-image.request.json: ${step} names"),
        ('"${steps}"', '"${1+1}"', "own.yaml:11: tasks.text-to-image.request.json: ${1+1} is no"),
        ('steps: "${steps}"', "n: 1", "own.yaml:8: tasks.text-to-image.parameters.steps: is sent"),
        ("prompt: {", "run_id: {", "own.yaml:7: tasks.text-to-image.parameters.run_id: is a name"),
        ("text-to-image:", "Text To Image:", "own.yaml:5: tasks.Text To Image: "),
        ("url: http", "url: ftp", "own.yaml:1: url: is no http(s) address"),
        ("//127", "//me:secret@127", "own.yaml:1: url: is no http(s) address without credentials"),
        ("outputs:", "output:", "own.yaml:12: output: Extra inputs are not permitted"),
    ],
)
def test_a_fault_is_named_with_its_line_and_field(old: str, new: str, expected: str) -> None:
    found = faults(changed(old, new))
    assert any(line.startswith(expected) for line in found), found


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-API-Key", "x-auth-token"])
def test_a_secret_in_the_file_is_refused(name: str) -> None:
    text = changed("path: /paint", f"path: /paint\n      headers: {{{name}: abc123}}")
    (line,) = faults(text)
    assert "looks like a secret" in line
    assert "QUEUE_AGENT_RUNTIME_API_KEY" in line
    assert "abc123" not in line


def test_a_field_that_stands_twice_is_a_fault() -> None:
    assert faults(GOOD + "url: http://127.0.0.1:1\n") == ["own.yaml:15: url: stands twice"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a: [", "own.yaml:1: "), ("a: &a [*a]", "own.yaml: "), ("- 1", "own.yaml:1: "), ("", "own")],
)
def test_what_is_no_description_is_refused(text: str, expected: str) -> None:
    assert faults(text)[0].startswith(expected)


def test_several_faults_are_named_at_once() -> None:
    text = changed("minimum: 1", "minimum: one").replace("path: $.image", "path: image[")
    assert len(faults(text)) == 2


def test_a_run_that_is_polled_may_name_its_id_and_others_not() -> None:
    cancel = "cancel: {path: '/stop/${id}'}\n"
    assert faults(GOOD + cancel)[0].startswith("own.yaml:15: cancel.path: ${id} names no parameter")
    polling = "polling: {id: $.id, request: {path: '/runs/${id}'}, status: $.s, done: [ok]}\n"
    assert parse_declaration(GOOD + cancel + polling, "own.yaml").cancel


def test_the_answer_of_a_poll_is_no_file() -> None:
    polling = "polling: {id: $.id, request: {path: /run}, status: $.s, done: [ok]"
    text = changed("  as: base64\n  path: $.image\n", "  as: body\n")
    assert "needs polling.result" in faults(f"{text}{polling}}}\n")[0]
    assert parse_declaration(f"{text}{polling}, result: {{path: /file}}}}\n", "own.yaml").polling


def test_a_file_has_no_place_in_an_address() -> None:
    text = changed("prompt: {type: string, words: true}", "prompt: {type: image}")
    text = text.replace("/paint\n", "/paint/${prompt}\n")
    assert any("a file cannot stand here" in line for line in faults(text))


def test_without_a_description_the_adapter_says_what_is_missing() -> None:
    with pytest.raises(SettingsError, match="QUEUE_AGENT_RUNTIME_OPTIONS: adapter: Field required"):
        HttpRuntime(RuntimeOptions())


def test_a_name_that_is_not_shipped_is_answered_with_those_that_are() -> None:
    with pytest.raises(SettingsError, match=r"nothing cannot be read: .*torchserve"):
        HttpRuntime(RuntimeOptions(own={"adapter": "nothing"}))


async def test_the_task_types_and_places_are_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(GOOD.replace("text-to-image", "text-to-video") + "concurrency: 3\nbacklog: 2\n")
    runtime = HttpRuntime(RuntimeOptions(own={"adapter": str(file)}))
    assert runtime.task_types == {"text-to-video"}
    assert (runtime.concurrency, runtime.backlog) == (3, 2)
    assert runtime.default_url == "http://127.0.0.1:7000"
    await runtime.aclose()


def test_the_schema_for_editors_knows_what_is_shipped() -> None:
    schema = Declaration.model_json_schema()
    for entry in shipped_declarations().values():
        jsonschema.validate(yaml.safe_load(entry.read_text("utf-8")), schema)
    assert json.dumps(schema)


async def test_check_and_run_refuse_a_faulty_file_with_a_line_for_each_fault(
    tmp_path: Path,
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(changed("path: /paint", "path: paint").replace("$.image", "image["))
    settings = Settings.load(
        {
            "QUEUE_AGENT_QUEUE_URL": "https://sqs.us-west-2.amazonaws.com/111122223333/jobs",
            "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:us-west-2:111122223333:notifications",
            "QUEUE_AGENT_BUCKET": "results",
            "QUEUE_AGENT_RUNTIME": "http",
            "QUEUE_AGENT_RUNTIME_OPTIONS": json.dumps({"adapter": str(file)}),
        }
    )
    with pytest.raises(SettingsError) as of_run:
        run(settings)
    with pytest.raises(SettingsError) as of_check:
        await check(settings)
    assert of_run.value.message == of_check.value.message
    assert [line.partition(": ")[0] for line in of_check.value.message.splitlines()] == [
        f"{file}:10",
        f"{file}:14",
    ]
