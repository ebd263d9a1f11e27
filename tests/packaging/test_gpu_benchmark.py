"""The benchmark for a GPU works without one, at tiny sizes, and says what it did not measure."""

import json
from pathlib import Path
from typing import Any

import pytest

from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.options import Options


def sections(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "report.json").read_text())["sections"]
    return found


def test_without_a_gpu_the_benchmark_says_so_and_shows_that_it_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.diffusers_serving.gpu import main  # noqa: PLC0415  loads torch

    options = ["--tiny", "--models", "sd15", "flux", "--clients", "1", "2", "--seconds", "0.05"]
    assert main([str(tmp_path), *options]) == 0
    assert "No GPU" in capsys.readouterr().out
    told = (tmp_path / "report.md").read_text()
    assert "No GPU was used" in told
    assert "Unfinished" not in told
    unet, transformer = sections(tmp_path)
    for section in (unet, transformer):
        assert section["load_seconds"] > 0
        assert section["agreement"]["engine"] < 1e-4
        assert section["agreement"]["other_seed"] > 0.1
        assert {row["subject"] for row in section["rows"]} == {"plain", "static", "engine"}
        assert all("skipped" in row or row["jobs"] >= 1 for row in section["rows"])
    loads = {row["load"] for row in unet["rows"]}
    assert loads == {
        "1 client, 4 steps",
        "2 clients, 4 steps",
        "2 clients, 4 to 8 steps",
        "2 clients, LCM, 4 steps",
        "2 clients, compiled, 4 steps",
    }
    assert all(section["compiled_agreement"]["engine"] < 1e-4 for section in (unet, transformer))
    guided, embedded = 2 * 4 * 8 * 8, 16 * 8 * 8
    for section, numbers in ((unet, guided), (transformer, embedded)):
        handed_out = section["handed_out"]
        assert handed_out["checkpoints"] == handed_out["clients"] == 2
        assert handed_out["predictions"] >= 10, "they were at work"
        in_float32 = 4 * numbers * handed_out["predictions"]
        assert in_float32 < handed_out["megabytes"] * 1e6 < 1.5 * in_float32
        assert 0 < handed_out["first_seconds"] <= handed_out["last_seconds"]
        assert handed_out["last_seconds"] < handed_out["end_seconds"]
    assert told.count("SIGTERM to a server with 2 clients at work: 2 checkpoint(s)") == 2
    quick = [
        row for row in transformer["rows"] if "balanced" in row["load"] or "fast" in row["load"]
    ]
    assert {(row["subject"], row["load"]) for row in quick} == {
        ("engine", f"{clients}, {quality}, 2 steps")
        for clients in ("1 client", "2 clients")
        for quality in ("balanced", "fast")
    }


def test_a_report_is_whole_at_any_moment(tmp_path: Path) -> None:
    from benchmarks.diffusers_serving.gpu_report import GpuReport, Section  # noqa: PLC0415

    report = GpuReport(tmp_path, "a card", tiny=True)
    for name in ("report.json", "report.md"):
        before = (tmp_path / name).read_text()
        with (tmp_path / name).open() as half_read:
            report.sections.append(Section("a model", "float32", 64))
            report.write()
            assert half_read.read() == before
        assert "a model" in (tmp_path / name).read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.md"}


def test_what_no_time_is_left_for_is_compared_and_its_lines_say_so(tmp_path: Path) -> None:
    seen = section_of("flux", tmp_path, budget=0.0)
    assert seen["agreement"] is not None
    assert {row["skipped"] for row in seen["rows"] if "skipped" in row} == {"no time for about 0 s"}
    assert seen["handed_out"] is None
    told = (tmp_path / "report.md").read_text()
    assert "From SIGTERM to checkpoints: not measured; no time was left." in told


def test_what_does_not_fit_into_memory_is_skipped_and_its_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415

    from benchmarks.diffusers_serving.subjects import BatchingSubject  # noqa: PLC0415

    def too_much(_subject: BatchingSubject, _requests: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(BatchingSubject, "_images", too_much)
    seen = section_of("flux", tmp_path, budget=600.0)
    assert seen["failures"] == []
    plain, static, engine, *_others = seen["rows"]
    assert plain["skipped"] == static["skipped"] == "no memory"
    assert engine["jobs"] >= 2


def test_a_section_without_a_model_says_what_ended_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.diffusers_serving import gpu_section  # noqa: PLC0415  loads torch

    def broken(*_: object) -> None:
        raise OSError("no such device")

    monkeypatch.setattr(gpu_section, "_load", broken)
    seen = section_of("flux", tmp_path, budget=600.0)
    assert (seen["failures"], seen["rows"]) == (["ended early: OSError: no such device"], [])
    assert "Failed: ended early: OSError: no such device" in (tmp_path / "report.md").read_text()


def test_a_measurement_that_fails_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.diffusers_serving import gpu_section  # noqa: PLC0415  loads torch
    from benchmarks.diffusers_serving.subjects import BatchingSubject  # noqa: PLC0415

    def broken(*_: object) -> None:
        raise RuntimeError("an illegal address")

    monkeypatch.setattr(BatchingSubject, "_images", broken)
    monkeypatch.setattr(gpu_section, "matrix_rate", broken)
    seen = section_of("flux", tmp_path, budget=600.0)
    assert seen["failures"] == [
        "the limit: RuntimeError: an illegal address",
        "plain, 2 clients, 2 steps: RuntimeError: an illegal address",
        "static, 2 clients, 2 steps: RuntimeError: an illegal address",
    ]
    assert len(seen["traces"]) == 3
    assert all("test_gpu_benchmark.py" in trace for trace in seen["traces"]), "where, too"
    assert {row["subject"] for row in seen["rows"]} == {"engine"}
    assert len(seen["rows"]) == 4, "as it is, balanced, fast and compiled"
    assert seen["handed_out"] is not None
    told = (tmp_path / "report.md").read_text()
    assert "Failed: the limit: RuntimeError: an illegal address" in told


def test_a_network_that_is_off_by_a_hundredth_is_seen(tmp_path: Path) -> None:
    from benchmarks.diffusers_serving.agreement import agreement  # noqa: PLC0415
    from benchmarks.diffusers_serving.models import write_model  # noqa: PLC0415
    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415
    from queue_agent_diffusers.torch.unet import UNetModel  # noqa: PLC0415

    write_model("sd15", tmp_path, tiny=True)
    pipeline: Any = load_pipeline(str(tmp_path), Options(device="cpu"))

    def off(*arguments: Any, **options: Any) -> tuple[Any, ...]:
        return (1.01 * pipeline.unet(*arguments, **options)[0],)

    like = ImageRequest("a cat", seed=0, width=64, height=64, guidance_scale=7.5)
    assert agreement(pipeline, UNetModel(pipeline, max_batch=4), like).equal
    assert not agreement(pipeline, UNetModel(pipeline, max_batch=4, network=off), like).equal


def test_what_step_caches_save_is_measured_without_a_gpu(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from benchmarks.step_caches import main  # noqa: PLC0415  loads torch

    main(["--steps", "4", "--rounds", "1"])
    lines = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:]]
    computed = {(count.strip(), name.strip()): steps.strip() for count, name, steps, *_ in lines}
    for count in ("1", "4"):
        assert computed[count, "exact"] == "4 of 4"
        assert computed[count, "balanced, every second step"] == "2 of 4"
        assert computed[count, "fast"] == "3 of 4"


def test_models_of_the_true_size_have_the_published_numbers_of_weights() -> None:
    import torch  # noqa: PLC0415

    from benchmarks.diffusers_serving.models import new_networks  # noqa: PLC0415

    def millions(kind: str, name: str) -> int:
        network = new_networks(kind, device="meta", dtype=torch.float16)[name]
        count: int = sum(weight.numel() for weight in network.parameters())
        return round(count / 1e6)

    assert millions("sd15", "unet") == 860
    assert millions("sdxl", "unet") == 2567
    assert millions("flux", "transformer") == 11901


def section_of(kind: str, folder: Path, *, budget: float) -> dict[str, Any]:
    """What the section of a tiny model reports with so many seconds."""
    from benchmarks.diffusers_serving.gpu_report import GpuReport  # noqa: PLC0415
    from benchmarks.diffusers_serving.gpu_section import Budget, SectionPlan, run_section  # noqa: PLC0415

    report = GpuReport(folder, "this machine", tiny=True)
    plan = SectionPlan(kind, device="cpu", tiny=True, clients=(2,), seconds=0.05)
    run_section(plan, Budget(budget), report)
    [section] = sections(folder)
    return section
