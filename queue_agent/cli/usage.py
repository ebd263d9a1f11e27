"""`queue-agent usage`: what jobs have used of GPUs, by day, tenant and model."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import typer

from queue_agent.client import Client
from queue_agent.client.usage import UsageKey, UsagePeriod, UsageReport, UsageSum
from queue_agent.planning.drawing import COLOURS, Picture, daily
from queue_agent.wire.errors import SettingsError

_COLUMNS: Final = (
    "day", "tenant", "model", "jobs", "completed", "images", "gpu_seconds", "cost",
)  # fmt: skip
_BAR: Final = 40
"""Signs of the longest bar."""
_SHOWN: Final = 5
"""Tenants with a line of their own in a picture."""
_NOBODY: Final = "(nobody)"


async def usage(
    client: Client,
    *,
    prefixes: Sequence[str],
    period: UsagePeriod,
    as_csv: bool,
    plot: Path | None,
) -> Iterator[str]:
    """The lines of the report; draws the picture, and tells of what it could not read.

    Raises:
        SettingsError: there is nothing to draw, or the picture cannot be written.
    """
    found = await client.usage(prefixes=prefixes, period=period)
    if found.unread:
        typer.echo(f"Not counted: {found.unread} results that cannot be read.", err=True)
    if plot is not None:
        _draw(found, plot)
    return _csv(found) if as_csv else _table(found)


def period(since: str | None, until: str | None) -> UsagePeriod:
    """From one day or moment, and before another.

    Raises:
        SettingsError: one is neither, or nothing lies between them.
    """
    found = UsagePeriod(moment(since, "--since"), moment(until, "--until"))
    if found.since is not None and found.until is not None and found.since >= found.until:
        raise SettingsError(f"--until: {until!r} is not after {since!r}.")
    return found


def moment(text: str | None, option_name: str) -> datetime | None:
    """A day, which begins at midnight UTC, or a moment.

    Raises:
        SettingsError: it is neither.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{option_name}: {text!r} is no day such as 2030-01-31.") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _cells(key: UsageKey, sums: UsageSum) -> list[str]:
    """For programs."""
    return [
        key.day.isoformat(),
        key.tenant,
        key.model,
        str(sums.jobs),
        str(sums.completed),
        str(sums.images),
        f"{sums.gpu_seconds:.3f}",
        f"{sums.cost:.8g}",
    ]


def _csv(found: UsageReport) -> Iterator[str]:
    """One line for each day, tenant and model; texts that spreadsheets take for formulas quoted."""
    for cells in [list(_COLUMNS), *(_cells(*row) for row in found.rows)]:
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(map(_harmless, cells))
        yield line.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell


def _table(found: UsageReport) -> Iterator[str]:
    """By tenant, with bars, and by day, tenant and model."""
    if not found.sums:
        yield "No job ended then below the prefix."
        return
    rows = [list(_COLUMNS), *(_cells(*row) for row in found.rows)]
    rows = [list(map(_printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        texts = [cell.ljust(width) for cell, width in zip(row[:3], widths[:3], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        yield "  ".join([*texts, *numbers]).rstrip()
    yield ""
    by_tenant = _by_tenant(found)
    most = max(by_tenant.values()) or 1.0
    for tenant, seconds in sorted(by_tenant.items(), key=lambda one: -one[1]):
        bar = "█" * max(1, round(_BAR * seconds / most)) if seconds else ""
        yield f"{_printable(tenant)[:24]:24} {seconds / 3600:10.3f} GPU-hours {bar}".rstrip()


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _by_tenant(found: UsageReport) -> Mapping[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for key, sums in found.sums.items():
        seconds[key.tenant or _NOBODY] += sums.gpu_seconds
    return seconds


def _draw(found: UsageReport, path: Path) -> None:
    if not found.sums:
        raise SettingsError("No job ended then below the prefix: there is nothing to draw.")
    drawn = _picture(found)
    try:
        if path.suffix.lower() == ".png":
            path.write_bytes(drawn.png())
        else:
            path.write_text(drawn.svg(), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: {error}") from error


def _picture(found: UsageReport) -> Picture:
    """GPU-hours a day: a line for each of the tenants with most, and one for all others."""
    by_tenant = _by_tenant(found)
    most = sorted(by_tenant, key=lambda tenant: -by_tenant[tenant])[:_SHOWN]
    first = min(key.day for key in found.sums)
    last = max(key.day for key in found.sums)
    hours: dict[str, dict[date, float]] = defaultdict(lambda: defaultdict(float))
    for key, sums in found.sums.items():
        tenant = key.tenant or _NOBODY
        hours[tenant if tenant in most else "all others"][key.day] += sums.gpu_seconds / 3600
    names = [*most, *(["all others"] if len(by_tenant) > len(most) else [])]
    lines = [
        (_printable(name)[:18], COLOURS[place % len(COLOURS)], hours[name])
        for place, name in enumerate(names)
    ]
    return daily("GPU-hours a day", first, last, lines)
