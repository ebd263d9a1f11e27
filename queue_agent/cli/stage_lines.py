"""What a command of several stages shows while it works: a line of each, by the clock."""

from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_QUARTERS: Final = 4
"""How often steps are told where lines stay."""


class StageLines:
    """Prints what is done; what is being done is told below in a terminal, elsewhere as a line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._now = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._now.add_task("", total=None)
        self._quarter = 0

    def __enter__(self) -> Self:
        self._now.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._now.stop()

    def doing(self, what: str) -> None:
        """A stage begins."""
        self._quarter = 0
        if self._console.is_terminal:
            self._now.reset(self._task, description=f"{escape(what)} …", total=None)
        else:
            self._line("…", f"{what} …", datetime.now(UTC))

    def step(self, step: int, steps: int) -> None:
        """How far the stage has come; without a terminal a few of them are told."""
        what = f"step {step} of {steps}"
        self._now.update(self._task, description=what, completed=step, total=steps)
        quarter = _QUARTERS * step // steps
        if quarter > self._quarter and not self._console.is_terminal:
            self._line("…", what, datetime.now(UTC))
        self._quarter = quarter

    def done(self, what: str, when: datetime | None = None) -> None:
        """A stage has ended, now or then."""
        self._line("[green]✓[/green]", what, when or datetime.now(UTC))

    def _line(self, mark: str, what: str, when: datetime) -> None:
        clock = f"{when.astimezone():%H:%M:%S.%f}"[:-3]
        line = f"[dim]{clock}[/dim] {mark} {escape(what)}"
        self._console.print(line, highlight=False, soft_wrap=True)
