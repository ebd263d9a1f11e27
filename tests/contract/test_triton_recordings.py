"""The fake Triton, held against what a real 2.51.0 answered (`tests/recordings`)."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from harness import PATIENCE
from triton_recording import RECORDING, ask, essence
from triton_recording import requests as exchanges
from triton_servers import fake_triton

RECORDED: list[dict[str, Any]] = json.loads(RECORDING.read_text())["exchanges"]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        fake_triton("--broken") as server,
        httpx.Client(base_url=server.url, timeout=PATIENCE) as client,
    ):
        yield client


def test_every_exchange_is_recorded() -> None:
    assert [one["request"] for one in RECORDED] == [*exchanges()]


def test_the_fake_answers_as_the_real_server_did(client: httpx.Client) -> None:
    different = {}
    for one in RECORDED:
        answered = essence(ask(client, one["request"]))
        if answered != essence(one):
            different[one["request"]["what"]] = (answered, essence(one))
    assert not different
