"""`queue-agent runtimes`: what adapters there are, and what they can do."""

from collections.abc import Iterator
from pathlib import Path

from queue_agent.runtime import Runtime, RuntimeOptions, installed_runtimes, load_runtime
from queue_agent.wire.errors import SettingsError


def lines(workflows: Path | None) -> Iterator[str]:
    """A line for each adapter, for each option of its own, and for each workflow of the folder.

    Raises:
        SettingsError: workflows of the folder cannot be used.
    """
    for name in sorted(installed_runtimes()):
        try:
            adapter = load_runtime(name)
        except SettingsError as error:
            yield f"{name:<12} ({error.message})"
            continue
        kinds = ", ".join(sorted(adapter.task_types)) or "those that its options say"
        yield f"{name:<12} {kinds}"
        own_options = adapter.own_options.model_fields if adapter.own_options else {}
        yield from (f"  option {key}: {field.description}" for key, field in own_options.items())
        if workflows is not None and adapter.workflows is not Runtime.workflows:
            for own in adapter(RuntimeOptions(workflows=workflows)).workflows():
                yield f"  {own}"
