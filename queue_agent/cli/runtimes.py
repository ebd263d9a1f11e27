"""`queue-agent runtimes`: what adapters there are, and what they can do."""

from collections.abc import Iterator
from pathlib import Path

from queue_agent.runtime import RuntimeOptions, installed_runtimes, load_runtime
from queue_agent.wire.errors import SettingsError


def lines(workflows: Path | None) -> Iterator[str]:
    """A line for each adapter, and for each workflow of the folder that it knows by name.

    Raises:
        SettingsError: workflows of the folder cannot be used.
    """
    for name in sorted(installed_runtimes()):
        try:
            adapter = load_runtime(name)
        except SettingsError as error:
            yield f"{name:<12} ({error.message})"
            continue
        yield f"{name:<12} {', '.join(sorted(adapter.task_types))}"
        if workflows is not None:
            for own in adapter(RuntimeOptions(workflows=workflows)).workflows():
                yield f"  {own}"
