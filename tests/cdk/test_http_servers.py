"""A runtime that a YAML file describes, from the app's configuration to the chart's values."""

from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from assembly import EXAMPLES
from image_service.config import Config
from image_service.release_values import release_values

OWN = """\
url: http://127.0.0.1:8000
health: {path: /health}
"""


def values(http_adapter: str) -> dict[str, Any]:
    text = yaml.safe_load(EXAMPLES["minimal"].read_text())
    text["runtimes"][0] = {
        "name": "paint",
        "preset": "custom",
        "models": "none",
        "image": {"repository": "example.com/paint", "tag": "1"},
        "http_adapter": http_adapter,
    }
    config = Config.model_validate(text)
    platform: Any = SimpleNamespace(
        node_role_name="nodes", pod_subnet_ids=["a"], security_group_id="b", private_cidrs=()
    )
    queue: Any = SimpleNamespace(
        lane=config.lanes[0], queue=SimpleNamespace(queue_url="https://queue")
    )
    topic: Any = SimpleNamespace(topic_arn="arn")
    storage: Any = SimpleNamespace(results_name="results", models_name="models")
    made: dict[str, Any] = release_values(config, platform, [queue], [], topic, storage, {})
    return made


@pytest.mark.parametrize(
    ("told", "expected"),
    [("torchserve", {"name": "torchserve"}), (OWN, {"file": OWN.strip()})],
)
def test_its_description_reaches_the_chart(told: str, expected: dict[str, str]) -> None:
    made = values(told)
    assert made["runtime"]["adapter"] == "http"
    assert made["agent"]["httpAdapter"] == expected


def test_without_a_description_the_adapter_is_the_presets() -> None:
    assert "adapter" not in values("")["runtime"]
