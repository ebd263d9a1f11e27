"""The cloud's time is learnt from the dates of its answers, and a difference is warned of."""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs

from queue_agent.cloud.clock import CloudClock
from queue_agent.telemetry.clock import ClockWatch

EPOCH = 1_767_225_600.0


@dataclass
class World:
    """True time, and what clocks make of it."""

    passed: float = 0.0
    cloud_ahead: float = 0.0
    wall_ahead: float = 0.0

    def __post_init__(self) -> None:
        self.clock = CloudClock(monotonic=self.monotonic, wall=self.wall)

    def monotonic(self) -> float:
        return 1000.0 + self.passed

    def wall(self) -> float:
        return EPOCH + self.passed + self.wall_ahead

    def cloud(self) -> float:
        return EPOCH + self.passed + self.cloud_ahead

    def answer(self, *, there: float = 0.02, back: float = 0.02, date: float | None = None) -> None:
        """One request and its answer, dated in whole seconds as it leaves the cloud."""
        asked = self.monotonic()
        self.passed += there
        told = math.floor(self.cloud()) if date is None else date
        self.passed += back
        self.clock.answered(told, asked=asked, now=self.monotonic())

    def answers(self, times: int) -> None:
        for _ in range(times):
            self.passed += 1.37
            self.answer()

    @property
    def error(self) -> float:
        return abs(self.clock.now() - self.cloud())


def test_a_date_that_is_exact_is_believed_as_it_is() -> None:
    world = World(wall_ahead=3600.0)
    world.clock.answered(world.cloud(), asked=world.monotonic(), now=world.monotonic(), within=0.0)
    assert world.error == pytest.approx(0.0)
    world.passed += 1000.3
    assert world.error == pytest.approx(0.0)


def test_until_an_answer_is_dated_this_machines_time_counts() -> None:
    world = World(wall_ahead=12.0)
    assert (world.clock.knows, world.clock.now()) == (False, world.wall())


@pytest.mark.parametrize("ahead", [0.0, 0.4, -0.6, 3600.0, -3600.0, 1e9, -1e9])
def test_the_first_answer_tells_the_time_to_a_second_and_more_tell_it_better(ahead: float) -> None:
    world = World(cloud_ahead=ahead)
    world.answer()
    assert world.error <= 1.0
    world.answers(30)
    assert world.error <= 0.15


@pytest.mark.parametrize("seed", range(20))
def test_slow_answers_and_long_polls_do_no_harm(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  no secret
    world = World(cloud_ahead=chance.uniform(-500, 500))
    for _ in range(100):
        world.passed += chance.uniform(0, 10)
        world.answer(there=chance.choice([0.01, 5.0, 20.0]), back=chance.choice([0.01, 0.1, 4.0]))
    assert world.error <= 0.5


def test_a_jump_of_this_machines_clock_changes_nothing() -> None:
    world = World()
    world.answers(10)
    world.wall_ahead = 3600.0
    assert world.error <= 0.5


def test_a_single_odd_date_is_not_believed_and_two_are() -> None:
    world = World()
    world.answers(10)
    world.answer(date=world.cloud() + 86_400)
    assert world.error <= 0.5
    world.answers(1)
    world.answer(date=world.cloud() - 86_400)
    world.answer(date=world.cloud() + 86_400)
    assert world.error <= 0.5
    world.cloud_ahead = 7200.0
    world.answers(1)
    assert world.error > 7000
    world.answers(1)
    assert world.error <= 1.0


def test_a_slow_drift_is_followed() -> None:
    world = World()
    for _ in range(100):
        world.cloud_ahead += 0.3
        world.answers(1)
    assert world.error <= 1.0


def lines_of(offsets: Iterable[float]) -> list[dict[str, Any]]:
    """What is logged of differences measured one after another."""
    offset = 0.0
    watch = ClockWatch(lambda: EPOCH + offset, wall=lambda: EPOCH)
    with capture_logs() as lines:
        for offset in offsets:  # noqa: B007  the closure reads it
            watch.look()
    return [dict(line) for line in lines]


def test_a_difference_of_a_second_or_two_is_no_news() -> None:
    assert lines_of([0.0, 1.2, -2.0, 4.9, -4.9]) == []


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_difference_is_warned_of_once_and_again_when_it_changes(sign: float) -> None:
    told = lines_of(sign * offset for offset in (60.0, 60.4, 59.8, 3600.0, 3600.2, 0.3, 0.1))
    assert [(line["log_level"], line["offset"]) for line in told] == [
        ("warning", sign * 60.0),
        ("warning", sign * 3600.0),
        ("info", sign * 0.3),
    ]
    assert "keep time" in told[0]["remedy"]
