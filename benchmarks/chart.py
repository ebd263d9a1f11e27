"""A chart of the gap scenario: GPU use by latency, one panel per GPU time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.latency import LATENCIES
from benchmarks.report import Row
from benchmarks.stage import AGENT, SEQUENTIAL

_COLOURS = {AGENT.name: "#1b7f5c", SEQUENTIAL.name: "#b5b9bd"}
_WIDTH = 0.4


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write `path` as .svg and .png; nothing where matplotlib (extra ``bench``) is missing."""
    try:
        import matplotlib  # noqa: PLC0415  heavy, and only for this
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    matplotlib.rcParams["svg.hashsalt"] = "queue-agent"
    rows = [row for row in rows if row.cell.scenario == "gap" and row.cell.load.gpu_seconds]
    times = sorted({row.cell.load.gpu_seconds for row in rows})
    if not times:
        return
    figure, panels = pyplot.subplots(
        1, len(times), figsize=(3.6 * len(times), 3.6), sharey=True, squeeze=False
    )
    for panel, seconds in zip(panels[0], times, strict=True):
        _draw_panel(panel, [row for row in rows if row.cell.load.gpu_seconds == seconds])
        panel.set_title(f"{seconds:g} s of GPU a job")
    panels[0][0].set_ylabel("GPU busy, %")
    figure.legend(
        *panels[0][0].get_legend_handles_labels(), loc="upper left", ncols=2, frameon=False
    )
    figure.tight_layout(rect=(0, 0, 1, 0.92))
    path.parent.mkdir(parents=True, exist_ok=True)
    for ending in ("svg", "png"):
        figure.savefig(path.with_suffix(f".{ending}"), dpi=144, metadata=_metadata(ending))
    pyplot.close(figure)


def _draw_panel(panel: Any, rows: Sequence[Row]) -> None:
    rows = sorted(rows, key=lambda row: list(LATENCIES).index(row.cell.load.latency))
    for offset, (subject, colour) in zip((-0.5, 0.5), _COLOURS.items(), strict=True):
        shown = [row.measured.get(subject) for row in rows]
        heights = [figures.gpu_busy_percent if figures else 0.0 for figures in shown]
        places = [place + offset * _WIDTH for place in range(len(rows))]
        bars = panel.bar(places, heights, _WIDTH, color=colour, label=subject)
        panel.bar_label(bars, fmt="%.0f", fontsize=8)
    panel.set_xticks(range(len(rows)), [row.cell.load.latency for row in rows], fontsize=8)
    panel.set_ylim(0, 110)
    panel.spines[["top", "right"]].set_visible(False)


def _metadata(ending: str) -> dict[str, Any]:
    return {"Date": None} if ending == "svg" else {}
