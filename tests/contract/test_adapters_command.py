"""`queue-agent adapters`: what is shipped, and one request with each of its steps shown."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from fakes import fake_runtime
from queue_agent.testing.process import ServerProcess
from queue_agent_runtimes.adapters_command import adapters
from queue_agent_runtimes.http.loading import shipped_declarations


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with fake_runtime("http_apis", "fooocus") as server:
        yield server


def said(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(adapters, words, env=environment)


def test_what_is_shipped_is_listed_with_its_task_types() -> None:
    lines = said("list").output.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_declarations())
    assert any(line.startswith("fooocus      image-to-image, text-to-image: ") for line in lines)


def test_a_shipped_file_is_shown_to_begin_with() -> None:
    assert said("show", "xdit").output == shipped_declarations()["xdit"].read_text("utf-8")
    assert said("show", "nothing").exit_code == 2


def test_the_schema_for_editors_is_printed() -> None:
    assert "tasks" in json.loads(said("schema").output)["properties"]


def test_a_try_shows_each_step_and_saves_the_files(server: ServerProcess, tmp_path: Path) -> None:
    words = ["--prompt", "a red barn", "--set", "width=64", "--set", "height=64"]
    place = ["--url", server.url, "--out", str(tmp_path)]
    found = said("try", "fooocus", *words, *place, QUEUE_AGENT_RUNTIME_API_KEY="hush-hush")
    assert found.exit_code == 0, found.output
    assert "health: GET /ping: ready" in found.output
    assert '"prompt": "a red barn"' in found.output
    assert "outputs: $.job_result[*].base64: 1 found" in found.output
    assert '"X-API-KEY": "(hidden)"' in found.output
    assert "hush-hush" not in found.output
    with Image.open(tmp_path / "try-1.png") as picture:
        assert picture.size == (64, 64)


def test_a_try_with_a_wrong_value_says_whose_fault_it_is(server: ServerProcess) -> None:
    found = said("try", "fooocus", "--url", server.url, "--set", "cfg_scale=0")
    assert found.exit_code == 1
    assert "failed, refused (invalid_content): cfg_scale: must be at least 1." in found.output


def test_a_try_of_what_the_server_refuses_shows_its_answer(server: ServerProcess) -> None:
    found = said("try", "fooocus", "--url", server.url, "--set", "styles=none")
    assert found.exit_code == 1
    assert "request: refused: " in found.output
    assert "failed, refused (runtime_rejected): " in found.output


def test_a_try_where_nothing_listens_says_so() -> None:
    found = said("try", "torchserve", "--url", ServerProcess([]).url)
    assert found.exit_code == 1
    assert "health: GET /ping: away: The runtime cannot be reached" in found.output
