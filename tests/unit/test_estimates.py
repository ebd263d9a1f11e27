"""What jobs will take, from what others took: pure functions."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queue_agent.cloud import Backlog
from queue_agent.estimates.fit import RunEstimate, estimate_run
from queue_agent.estimates.promise import QueueAhead, promise
from queue_agent.estimates.runs import LARGEST, SeenAgent, SeenRun, SeenRuns
from queue_agent.wire.estimate import JobEstimate, Spread
from queue_agent.wire.job import Job, Metadata
from queue_agent.wire.work import Work, work_of

NOW = 1_800_000_000.0
USUAL = 30.0
GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl.safetensors"}},
    "2": {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": 1000, "height": 1000, "batch_size": 2},
    },
    "3": {"class_type": "KSampler", "inputs": {"steps": 20, "model": ["1", 0]}},
    "4": {"class_type": "KSampler", "inputs": {"steps": 10, "model": ["1", 0]}},
}


def job(content: Mapping[str, object], kind: str = "text-to-image") -> Job:
    return Job.model_validate({"metadata": {"id": "a", "tasktype": kind}, "content": content})


def drawing(steps: float, side: int = 512, count: int = 1, model: str | None = "sd15") -> Work:
    return work_of(
        job({"steps": steps, "width": side, "height": side, "batch_size": count, "model": model})
    )


def seen(works: Sequence[tuple[Work, float]], **fields: float) -> SeenRuns:
    """Runs that took so many seconds, one each minute."""
    runs = [
        SeenRuns.of(
            work,
            SeenRun(
                at=NOW - 60 * number,
                amount=work.amount,
                megapixels=work.megapixels,
                count=work.count,
                seconds=seconds,
                **{"gpu_seconds": seconds, **fields},
            ),
        )
        for number, (work, seconds) in enumerate(works)
    ]
    return SeenRuns().merged(*runs)


def true_seconds(work: Work) -> float:
    assert work.amount is not None
    return 1.5 + 0.4 * work.amount


@pytest.mark.parametrize(
    ("content", "kind", "amount", "count"),
    [
        ({"steps": 20, "width": 1000, "height": 1000}, "text-to-image", 20, 1),
        ({"width": 1000, "height": 1000}, "text-to-image", 50, 1),
        ({"steps": 20, "width": 1000, "height": 1000, "batch_size": 2, "n_iter": 3}, "", 120, 6),
        ({"steps": 20, "width": 1000, "height": 1000, "init_images": ["x"]}, "", 15, 1),
        (
            {"steps": 20, "width": 1000, "height": 1000, "enable_hr": True, "hr_scale": 2},
            "",
            20 + 20 * 0.75 * 4,
            1,
        ),
        (
            {"steps": 20, "width": 1000, "height": 1000, "enable_hr": False, "hr_scale": 2},
            "",
            20,
            1,
        ),
        ({"prompt": "no numbers", "steps": "many"}, "", 50 * 0.262144, 1),
        (
            {"steps": 10, "width": 1000, "height": 1000, "seconds": 2, "fps": 8},
            "text-to-video",
            160,
            16,
        ),
        ({"prompt": "a boat"}, "text-to-video", None, 1),
        (GRAPH, "pipeline", 60, 2),
        ({"prompt": GRAPH}, "pipeline", 60, 2),
        ({"image": "x"}, "extra-single-image", None, 1),
        ({"steps": 10**400}, "", None, 1),
        ({"steps": -3, "width": True}, "", None, 1),
    ],
)
def test_the_work_of_a_job_is_read_from_its_content(
    content: dict[str, object], kind: str, amount: float | None, count: float
) -> None:
    work = work_of(job(content, kind or "text-to-image"))
    assert work.amount == (None if amount is None else pytest.approx(amount))
    assert work.count == count


def test_the_model_of_a_graph_is_the_checkpoint_that_it_loads() -> None:
    assert work_of(job(GRAPH, "pipeline")).model == "sdxl.safetensors"
    named = work_of(job({"workflow": "flux", "inputs": {}}, "pipeline"))
    assert (named.kind, named.amount) == ("pipeline flux", None)


def test_jobs_that_ask_more_networks_are_of_other_kinds_and_of_few() -> None:
    """By their ControlNets and IP-Adapters, wherever a runtime's content has them."""
    unit: dict[str, object] = {"image": "x"}
    script = {"args": [unit, {**unit, "enabled": False}, {**unit, "enabled": True}]}
    nodes = {name: {"class_type": "ControlNetApplyAdvanced", "inputs": {}} for name in "ab"}
    kinds = [
        work_of(job(content, task)).kind
        for content, task in (
            ({"controls": [unit]}, "text-to-image"),
            ({"controls": [unit] * 2, "quality": "fast"}, "image-to-image"),
            ({"controls": [unit] * 3, "ip_adapters": [unit]}, "text-to-image"),
            ({"controls": [unit] * 500, "ip_adapters": [unit]}, "text-to-image"),
            ({"alwayson_scripts": {"ControlNet": script}}, "text-to-image"),
            ({**GRAPH, **nodes}, "pipeline"),
            ({"controls": [], "ip_adapters": None}, "text-to-image"),
        )
    ]
    assert kinds == [
        "text-to-image control",
        "image-to-image fast 2 controls",
        "text-to-image 3 controls IP-Adapter",
        "text-to-image 3 controls IP-Adapter",
        "text-to-image 2 controls",
        "pipeline 2 controls",
        "text-to-image",
    ]


def test_an_upscaler_is_the_model_of_its_jobs() -> None:
    asked = {"image": "x", "model": "sd15"}
    named = [
        work_of(job({**asked, "upscaler_1": name}, "extra-single-image")).model
        for name in ("4x-UltraSharp", "Lanczos", "None", 4)
    ]
    assert named == ["4x-UltraSharp", None, None, None]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    st.sampled_from(
        [
            *("steps", "width", "batch_size", "hr_scale", "workflow", "prompt", "model"),
            *("controls", "ip_adapters", "alwayson_scripts", "upscaler_1"),
        ]
    ),
    st.sampled_from(
        ["text-to-image", "image-to-video", "pipeline", "image-to-3d", "extra-single-image"]
    ),
)
def test_any_content_has_some_work(value: object, field: str, kind: str) -> None:
    content: dict[str, Any] = {"steps": 20, "class_type": "x", field: value}
    metadata = Metadata(id="a", tasktype=kind)
    work = work_of(Job.model_construct(metadata=metadata, content=content))
    assert work.amount is None or 0 <= work.amount < math.inf


def test_runs_of_other_sizes_tell_what_a_size_takes_that_was_never_seen() -> None:
    works = [drawing(steps, side) for steps in (10, 20, 30) for side in (512, 768)]
    known = seen([(work, true_seconds(work)) for work in works])
    for asked in (drawing(25, 640), drawing(40, 512, 2), drawing(15, 512)):
        told = estimate_run(known, asked, usual=USUAL)
        assert told.run.expected == pytest.approx(true_seconds(asked), rel=0.15)
        assert told.run.low <= true_seconds(asked) <= told.run.high
        assert told.basis == "model"


def test_a_run_that_hung_changes_little() -> None:
    works = [drawing(steps) for steps in (10, 15, 20, 25, 30, 35, 40, 45, 50)]
    took = [true_seconds(work) for work in works]
    took[4] *= 30
    told = estimate_run(seen(list(zip(works, took, strict=True))), drawing(20), usual=USUAL)
    assert told.run.expected == pytest.approx(true_seconds(drawing(20)), rel=0.1)


def test_what_was_seen_of_the_very_size_counts_more_than_the_line() -> None:
    large = drawing(30, 1024)
    known = seen([(drawing(20), 2.0)] * 9 + [(drawing(30), 3.0)] * 9 + [(large, 40.0)] * 9)
    assert estimate_run(known, large, usual=USUAL).run.expected == pytest.approx(40, rel=0.05)
    assert estimate_run(known, drawing(20), usual=USUAL).run.expected == pytest.approx(2, rel=0.05)


def test_the_fewer_runs_were_seen_the_wider_is_the_range() -> None:
    def width(number: int) -> float:
        run = estimate_run(seen([(drawing(20), 2.0)] * number), drawing(20), usual=USUAL).run
        return run.high / run.low

    widths = [width(number) for number in (3, 5, 9)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 1.3


def test_of_a_model_never_seen_the_runtimes_others_tell_with_a_wide_range() -> None:
    known = seen([(drawing(20), 2.0)] * 9)
    told = estimate_run(known, drawing(20, model="sdxl"), usual=USUAL)
    assert told.basis == "runtime"
    assert told.run.expected == pytest.approx(2, rel=0.05)
    assert told.run.high / told.run.low > 2
    assert estimate_run(known, Work("image-to-3d", None), usual=USUAL).basis == "runtime"


def test_where_nothing_was_seen_the_setting_tells() -> None:
    told = estimate_run(SeenRuns(), drawing(20), usual=USUAL)
    assert (told.basis, told.run.expected, told.price) == ("setting", USUAL, None)
    assert told.run.high / told.run.low > 10


def test_eight_of_ten_jobs_take_what_the_range_says() -> None:
    chance = random.Random(1)  # noqa: S311

    def took(work: Work) -> float:
        return true_seconds(work) * chance.lognormvariate(0, 0.15)

    def any_work() -> Work:
        return drawing(chance.choice((15, 20, 30, 40)), chance.choice((512, 768, 1024)))

    known = seen([(work, took(work)) for work in [any_work() for _ in range(60)]])
    hits = 0
    for _ in range(400):
        asked = any_work()
        run = estimate_run(known, asked, usual=USUAL).run
        hits += run.low <= took(asked) <= run.high
    assert 0.7 <= hits / 400 <= 0.97


def test_a_job_that_shares_the_gpu_costs_its_part() -> None:
    known = seen([(drawing(20), 2.0)] * 5, gpu_seconds=0.5, price=3.6)
    told = promise(estimate_run(known, drawing(20), usual=USUAL), known, ahead(0, 0, places=1), NOW)
    assert told.gpu_seconds.expected == pytest.approx(0.5, rel=0.01)
    assert told.cost is not None
    assert told.cost.expected == pytest.approx(0.5 / 1000, rel=0.01)


RUNS = st.builds(
    SeenRuns.of,
    st.builds(Work, st.sampled_from(["a", "b"]), st.sampled_from([None, "m", "n"])),
    st.builds(
        SeenRun,
        at=st.floats(0, 1e9),
        amount=st.sampled_from([None, 1.0, 2.0]),
        seconds=st.floats(0.1, 100),
        gpu_seconds=st.floats(0.1, 100),
    ),
)
KNOWN = st.lists(RUNS, max_size=30).map(lambda runs: SeenRuns().merged(*runs))


@given(KNOWN, KNOWN, KNOWN)
@settings(max_examples=40)
def test_it_does_not_matter_in_which_order_agents_write(
    first: SeenRuns, second: SeenRuns, third: SeenRuns
) -> None:
    assert first.merged(second).merged(third) == third.merged(second.merged(first))
    assert first.merged(first) == first
    assert SeenRuns.model_validate_json(first.to_json()) == first


def test_however_much_is_seen_it_fits_into_one_file() -> None:
    chance = random.Random(2)  # noqa: S311
    known = SeenRuns()
    for model in range(80):
        works = [
            (drawing(chance.uniform(1, 99), model=f"{model}" + "x" * 300), chance.uniform(1, 99))
            for _ in range(60)
        ]
        known = known.merged(seen(works, price=chance.random()))
    for number in range(600):
        known = known.seen_by(f"agent-{number}" * 20, SeenAgent(at=NOW + number / 10))
    assert len(known.to_json()) < LARGEST / 4


def test_a_seldom_size_is_not_forgotten_for_common_ones() -> None:
    seldom = drawing(30, 1024)
    known = seen([(drawing(20), 2.0)] * 200 + [(seldom, 40.0)] * 3)
    assert estimate_run(known, seldom, usual=USUAL).run.expected == pytest.approx(40, rel=0.1)


def ahead(
    waiting: int, in_flight: int, *, places: int | None = None, pod_start: float = 120
) -> QueueAhead:
    return QueueAhead(Backlog(waiting, in_flight), places, pod_start)


def told(
    queue: QueueAhead, *, run: float = 10, others: float = 10, spread: float = 0.0
) -> JobEstimate:
    chance = random.Random(3)  # noqa: S311
    around = [others * (1 + chance.uniform(-spread, spread)) for _ in range(50)]
    known = seen([(drawing(20), seconds) for seconds in around])
    estimate = RunEstimate(Spread.of(run, run, run), Spread.of(run, run, run), None, "model")
    return promise(estimate, known, queue, NOW)


@pytest.mark.parametrize(
    ("queue", "starts"),
    [
        (ahead(0, 0, places=1), 0),
        (ahead(0, 1, places=2), 0),
        (ahead(0, 1, places=1), 5),
        (ahead(9, 1, places=1), 95),
        (ahead(9, 2, places=1), 105),
        (ahead(80, 8, places=8), 101),
        (ahead(80, 16, places=8), 111),
        (ahead(0, 0, places=0), 120),
        (ahead(3, 0, places=0), 150),
        (ahead(9, 2, places=None), 105),
        (ahead(0, 0, places=None), 0),
    ],
)
def test_a_job_starts_when_what_is_before_it_is_done(queue: QueueAhead, starts: float) -> None:
    estimate = told(queue)
    assert estimate.start is not None
    assert estimate.end is not None
    assert estimate.start.expected == pytest.approx(starts, abs=1)
    assert estimate.end.expected == pytest.approx(starts + 10, abs=2)
    assert estimate.start.low <= estimate.start.expected <= estimate.start.high


def test_where_the_queue_cannot_be_asked_only_the_run_is_told() -> None:
    estimate = told(QueueAhead(None, 1, 120))
    assert (estimate.start, estimate.end) == (None, None)
    assert estimate.run.expected == 10


def test_the_more_jobs_differ_the_wider_is_the_range_of_the_start() -> None:
    def width(spread: float) -> float:
        start = told(ahead(40, 1, places=1), spread=spread).start
        assert start is not None
        return start.high - start.low

    assert width(0) < width(0.3) < width(0.9)


@given(st.integers(0, 200), st.integers(0, 40), st.none() | st.integers(0, 20))
def test_who_comes_later_is_told_no_earlier_start(
    waiting: int, in_flight: int, places: int | None
) -> None:
    in_flight = min(in_flight, 2 * (places or 20))
    first = told(ahead(waiting, in_flight, places=places)).start
    later = told(ahead(waiting + 1, in_flight, places=places)).start
    assert first is not None
    assert later is not None
    if not (waiting == 0 and places is None):  # whose first look counts agents otherwise
        assert later.expected >= first.expected - 0.5
