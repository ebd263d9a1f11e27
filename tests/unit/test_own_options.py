"""Options that one adapter has and no other."""

from typing import ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, Field

from queue_agent.cli import runtimes
from queue_agent.cli.options import make_runtime
from queue_agent.runtime import RuntimeOptions, own_options_of
from queue_agent.settings.agent import Settings
from queue_agent.wire.errors import SettingsError
from queue_agent_runtimes.webui import WebUIRuntime

NEEDED = {
    "QUEUE_AGENT_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs",
    "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:eu-west-1:123456789012:notifications",
    "QUEUE_AGENT_BUCKET": "images",
    "QUEUE_AGENT_RUNTIME": "webui",
}


class PaintOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    brushes: int = Field(default=1, ge=1, description="How many brushes it has.")


class OptionedRuntime(WebUIRuntime):
    own_options: ClassVar[type[BaseModel] | None] = PaintOptions

    def __init__(self, options: RuntimeOptions) -> None:
        super().__init__(options)
        self.own = own_options_of(PaintOptions, options)


@pytest.fixture
def optioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queue_agent.cli.options.load_runtime", lambda _: OptionedRuntime)


def settings(text: str) -> Settings:
    return Settings.load({**NEEDED, "QUEUE_AGENT_RUNTIME_OPTIONS": text})


@pytest.mark.usefixtures("optioned")
def test_options_of_its_own_reach_the_adapter() -> None:
    runtime = make_runtime(settings('{"brushes": 3}'))
    assert isinstance(runtime, OptionedRuntime)
    assert runtime.own == PaintOptions(brushes=3)


@pytest.mark.usefixtures("optioned")
@pytest.mark.parametrize(
    ("text", "words"), [('{"brushes": 0}', "brushes: "), ('{"colours": 1}', "colours: ")]
)
def test_options_that_the_adapter_does_not_have_are_named(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"QUEUE_AGENT_RUNTIME_OPTIONS: {words}"):
        make_runtime(settings(text))


def test_an_adapter_without_such_options_takes_none() -> None:
    with pytest.raises(SettingsError, match="webui has no options of its own"):
        make_runtime(settings('{"brushes": 3}'))


@pytest.mark.parametrize("text", ["[1]", "brushes=3", "3", '{"brushes": 3'])
def test_options_are_a_json_object(text: str) -> None:
    with pytest.raises(SettingsError, match=r"QUEUE_AGENT_RUNTIME_OPTIONS: (must be a|is no) JSON"):
        settings(text)


def test_the_list_of_adapters_says_which_options_they_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtimes, "load_runtime", lambda _: OptionedRuntime)
    assert "  option brushes: How many brushes it has." in [*runtimes.lines(None)]
