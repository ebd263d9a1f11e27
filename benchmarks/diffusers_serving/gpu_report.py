"""What was seen on a GPU, written down line by line."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from benchmarks.diffusers_serving.agreement import Agreement
from benchmarks.diffusers_serving.handing_out import HandedOut
from benchmarks.diffusers_serving.table import ServingRow, SkippedRow, markdown

library: Any = diffusers
TERA = 1e12


@dataclass
class Section:
    """What was seen of one model; None: it did not come to that."""

    model: str
    precision: str
    pixels: int
    load_seconds: float | None = None
    load_note: str = ""
    """How it was loaded, or why that was not measured."""
    agreement: Agreement | None = None
    matrix_rate: float | None = None
    """Operations per second."""
    step_operations: int | None = None
    """Of one image."""
    peak_bytes: int | None = None
    """Of the device's memory."""
    compile_seconds: float | None = None
    """Until compiled blocks had taken their first steps."""
    compiled_agreement: Agreement | None = None
    rows: list[ServingRow | SkippedRow] = field(default_factory=list)
    handed_out: HandedOut | None = None
    """By a server of this model that was told to end."""
    handing_out_note: str = ""
    """Why that was not measured."""
    failures: list[str] = field(default_factory=list)
    """Of measurements, after which the others were made, or of the section as a whole."""
    traces: list[str] = field(default_factory=list)
    """Where all of these were raised; in the JSON only."""


class GpuReport:
    """In a folder, as `report.json` and `report.md`, written anew whenever something is known."""

    def __init__(self, folder: Path, machine: str, *, tiny: bool) -> None:
        self._folder = folder
        self._machine = machine
        self._tiny = tiny
        self._ending: str | None = "Unfinished."
        self.sections: list[Section] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.write()

    @property
    def sound(self) -> bool:
        """Whether nothing failed, and what was compared is equal."""
        return all(
            not section.failures and all(one is None or one.equal for one in _compared(section))
            for section in self.sections
        )

    def write(self) -> None:
        """Bring the files up to date."""
        content = {
            "machine": self._machine,
            "versions": _versions(),
            "tiny": self._tiny,
            "ending": self._ending,
            "sections": [asdict(section) for section in self.sections],
        }
        self._replace("report.json", json.dumps(content, indent=2) + "\n")
        self._replace("report.md", self.markdown())

    def _replace(self, name: str, text: str) -> None:
        """At once, so that who is killed while writing leaves what was known before."""
        new = self._folder / f".{name}"
        new.write_text(text)
        new.replace(self._folder / name)

    def finish(self, ending: str | None = None) -> None:
        """Nothing follows; `ending` says what is missing."""
        self._ending = ending
        self.write()

    def markdown(self) -> str:
        """All of it as a document."""
        versions = ", ".join(f"{name} {version}" for name, version in _versions().items())
        parts = [f"# The bundled runtime on {self._machine}", f"With {versions}."]
        if self._tiny:
            parts.append("No GPU was used: these are tiny models, whose figures mean nothing.")
        if self._ending is not None:
            parts.append(self._ending)
        for section in self.sections:
            parts += _paragraphs(section)
        return "\n\n".join(parts) + "\n"


def _compared(section: Section) -> tuple[Agreement | None, Agreement | None]:
    return section.agreement, section.compiled_agreement


def _paragraphs(section: Section) -> list[str]:
    parts = [f"## {section.model}, {section.pixels}², {section.precision}"]
    if section.load_seconds is not None:
        parts.append(f"Loaded in {section.load_seconds:.1f} s{section.load_note}.")
    elif section.load_note:
        parts.append(f"Time to load: {section.load_note}.")
    if section.agreement is not None:
        parts.append(_agreement_told(section.agreement))
    if section.compiled_agreement is not None:
        took = f"Compiled in {section.compile_seconds:.0f} s. "
        parts.append(took + _agreement_told(section.compiled_agreement))
    if section.matrix_rate is not None and section.step_operations is not None:
        parts.append(
            f"Matrices are multiplied at {section.matrix_rate / TERA:.3g} TFLOP/s; a step of an "
            f"image takes {section.step_operations / TERA:.3g} TFLOP in the network: at most "
            f"{section.matrix_rate / section.step_operations:.3g} image steps/s."
        )
    if section.rows:
        parts.append(markdown([asdict(row) for row in section.rows]))
    if section.peak_bytes is not None:
        parts.append(f"At most {section.peak_bytes / 1024**3:.1f} GiB of the card were used.")
    if section.handed_out is not None:
        parts.append(_handing_out_told(section.handed_out))
    elif section.handing_out_note:
        parts.append(f"From SIGTERM to checkpoints: not measured; {section.handing_out_note}.")
    return [*parts, *(f"Failed: {failure}" for failure in section.failures)]


def _agreement_told(seen: Agreement) -> str:
    verdict = "equal" if seen.equal else "NOT EQUAL"
    return (
        f"Engine and plain pipeline: {verdict}. Latents differ by {seen.engine:.2e} of their size; "
        f"a static batch's by {seen.static:.2e}, those of another seed by {seen.other_seed:.2e}; "
        f"allowed are {seen.tolerance:.2e}."
    )


def _handing_out_told(seen: HandedOut) -> str:
    clients = "1 client" if seen.clients == 1 else f"{seen.clients} clients"
    return (
        f"SIGTERM to a server with {clients} at work: {seen.checkpoints} checkpoint(s) of "
        f"{seen.megabytes:.2g} MB and {seen.predictions:.0f} predictions were had within "
        f"{seen.last_seconds:.2f} s, the first within {seen.first_seconds:.2f} s; the server had "
        f"ended within {seen.end_seconds:.2f} s."
    )


def _versions() -> dict[str, str]:
    versions = {
        "torch": torch.__version__,
        "diffusers": str(library.__version__),
        "transformers": transformers.__version__,
    }
    cuda = torch.version.cuda
    return versions if cuda is None else {**versions, "CUDA": cuda}
