"""How a simulated fleet grows, shrinks and is paid for."""

from dataclasses import replace
from itertools import pairwise

import pytest

from queue_agent.planning.arrivals import ExpectedJob
from queue_agent.planning.autoscaler import Autoscaler
from queue_agent.planning.nodes import Circumstances, GpuNode
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.policy import (
    HPA_UP,
    FleetPolicy,
    ScalingRate,
    ScalingRules,
    before,
    chart,
    chart_values,
    guidance,
)
from queue_agent.planning.simulation import Simulation, oracle


def quick(seconds: float) -> FleetPolicy:
    """All pods at once, down by half, 24 s of work a pod; as it stands here, whatever the chart."""
    return replace(
        guidance(),
        name="quick",
        queue_length=max(1, int(24 / seconds)),
        polling_interval=5,
        cooldown=120,
        up=ScalingRules(0, (ScalingRate("Pods", 1000, 15),)),
        down=ScalingRules(30, (ScalingRate("Percent", 50, 15),)),
        consolidate_after=60,
        grace=50,
        spares_busy=True,
    )


QUEUE_LENGTH_5 = replace(quick(600), queue_length=5)


def together(number: int, seconds: float) -> list[ExpectedJob]:
    return [ExpectedJob(0, seconds)] * number


def test_one_job_alone_waits_for_its_pod_and_is_charged_for_the_node() -> None:
    policy = replace(quick(10), polling_interval=5, cooldown=120, consolidate_after=60)
    given = Circumstances(node_start=60, image_pull=30, model_load=30)
    outcome = Simulation([ExpectedJob(1, 10)], policy, given).run()
    assert outcome.wait(100) == 4 + 120  # the next poll, then the pod's start
    # ended at 135; active last at the poll of 130, to zero at 250, the node gone at 310
    assert outcome.gpu_seconds == pytest.approx(310 - 5)
    assert outcome.usd == pytest.approx(305 / 3600 * 0.8048)
    assert (outcome.pods_started, outcome.nodes_started, outcome.killed) == (1, 1, 0)


def test_a_pod_that_comes_to_a_node_of_before_only_loads_its_model() -> None:
    policy = replace(quick(10), cooldown=0, consolidate_after=600)
    jobs = [ExpectedJob(0, 10), ExpectedJob(200, 10)]
    outcome = Simulation(jobs, policy).run()
    assert outcome.nodes_started == 1
    assert outcome.pods_started == 2
    assert outcome.waits[0] == pytest.approx(30, abs=policy.polling_interval)


def test_a_node_with_a_pod_stays_and_an_empty_one_goes_after_its_time() -> None:
    policy = replace(quick(10), cooldown=0, consolidate_after=100)
    jobs = [ExpectedJob(0, 10), ExpectedJob(200, 10), ExpectedJob(500, 10)]
    outcome = Simulation(jobs, policy).run()
    assert outcome.nodes_started == 2
    # the first from 0 to 240 + 100, though it was empty from 135 to 200; the second 120 + 10 + 100
    assert outcome.gpu_seconds == pytest.approx(340 + 230, abs=10)


def test_busy_pods_are_killed_where_their_jobs_are_counted_away() -> None:
    killed = Simulation(together(20, 600), QUEUE_LENGTH_5).run()
    assert killed.killed > 0
    assert len(killed.waits) == 20
    assert killed.busy_seconds == 20 * 600


def test_long_jobs_have_a_pod_each_and_none_is_killed() -> None:
    outcome = Simulation(together(20, 600), quick(600)).run()
    assert (outcome.killed, outcome.most_pods) == (0, 20)


@pytest.mark.parametrize("spares", [True, False])
def test_only_marked_pods_are_spared_while_others_are_idle(spares: bool) -> None:
    """Two short jobs, then a long one at the newer pod: scale-in takes the newer, or the idle."""
    policy = replace(quick(600), spares_busy=spares, grace=0)
    jobs = [ExpectedJob(0, 600), ExpectedJob(200, 2000)]
    assert Simulation(jobs, policy).run().killed == (0 if spares else 1)


def test_a_job_that_ends_within_the_grace_is_not_cut_off() -> None:
    policy = replace(QUEUE_LENGTH_5, grace=700)
    assert Simulation(together(20, 600), policy).run().killed == 0


def test_with_a_pod_that_stays_only_the_hpa_takes_the_others_and_they_are_paid_until_then() -> None:
    policy = replace(
        quick(2),
        min_pods=1,
        cooldown=10,
        down=ScalingRules(600, (ScalingRate("Percent", 100, 15),)),
    )
    outcome = Simulation(together(60, 2), policy).run()
    assert outcome.most_pods == 5
    assert outcome.pods_over_time[-1][1] == 1
    assert outcome.gpu_seconds == pytest.approx(5 * (600 + 60), rel=0.1)


def test_pods_that_wait_together_get_a_larger_node_unless_one_gpu_is_asked_for() -> None:
    given = Circumstances(nodes=(GpuNode(1, 1.0), GpuNode(4, 8.0)))
    one = Simulation(together(2, 600), quick(600), given).run()
    policy = replace(quick(600), one_gpu_nodes=False, min_pods=2)
    large = Simulation(together(2, 600), policy, given).run()
    assert one.usd == pytest.approx(one.gpu_seconds / 3600)
    assert large.nodes_started == 1
    assert large.usd == pytest.approx(large.gpu_seconds / 4 / 3600 * 8)


def test_a_reclaimed_spot_node_costs_a_run_and_no_job() -> None:
    given = Circumstances(interruptions=6.0, seed=2)
    outcome = Simulation(together(20, 600), quick(600), given).run()
    assert outcome.killed > 0
    assert len(outcome.waits) == 20
    assert outcome.busy_seconds == 20 * 600


def test_all_is_paid_that_is_used() -> None:
    for policy in (guidance(), before(), chart(chart_values(), 2)):
        outcome = Simulation(together(500, 2), policy).run()
        assert outcome.gpu_seconds > outcome.busy_seconds == 1000
        assert outcome.pods_over_time[-1][1] == 0


def test_no_policy_costs_less_than_the_oracle() -> None:
    jobs = together(500, 2)
    least = oracle(jobs, Circumstances())
    assert least.usd == pytest.approx(1000 / 3600 * 0.8048)
    assert least.wait(99) == 0


def test_percentiles_are_of_the_nearest_rank() -> None:
    outcome = FleetOutcome("", waits=[float(number) for number in range(1, 101)])
    assert [outcome.wait(it) for it in (0, 1, 50, 95, 99.5, 100)] == [1, 1, 50, 95, 100, 100]


# The HPA


def rules(window: float, *rates: ScalingRate) -> ScalingRules:
    return ScalingRules(window, rates)


def scaled(policy: FleetPolicy, messages: list[int], *, every: float = 15) -> list[int]:
    """The pods after each look, from one on."""
    autoscaler, pods, found = Autoscaler(policy), 1, []
    for number, waiting in enumerate(messages):
        pods = autoscaler.desired(number * every, waiting, pods)
        found.append(pods)
    return found


def test_what_kubernetes_does_by_itself_doubles_or_adds_four_each_15_s() -> None:
    assert scaled(guidance(), [1000] * 6) == [5, 10, 20, 40, 80, 100]


def test_it_shrinks_after_five_minutes_and_then_at_once() -> None:
    pods = scaled(guidance(), [50, *[0] * 21])
    assert pods[0] == 5
    assert set(pods[1:20]) == {5}
    assert pods[-1] == 1


def test_a_tenth_more_or_less_changes_nothing() -> None:
    assert scaled(replace(guidance(), queue_length=20), [21, 19, 24]) == [1, 1, 2]


def test_it_takes_one_pod_a_minute_where_it_is_told_so() -> None:
    policy = replace(guidance(), down=rules(0, ScalingRate("Pods", 1, 60)))
    pods = scaled(policy, [*[50] * 5, *[0] * 12])
    assert pods[4:] == [5, 4, 4, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2]


def test_it_takes_half_each_15_s_after_30_s() -> None:
    pods = scaled(quick(2), [12 * 64, *[0] * 10])
    assert pods[:8] == [64, 64, 32, 16, 8, 4, 2, 1]


def test_it_waits_to_grow_where_it_is_told_so() -> None:
    policy = replace(guidance(), up=rules(30, *HPA_UP.rates))
    assert scaled(policy, [10, 10, 50, 50, 50]) == [1, 1, 1, 5, 5]


def test_it_never_passes_its_limits() -> None:
    policy = replace(guidance(), min_pods=2, max_pods=7)
    pods = scaled(policy, [1000, 1000, *[0] * 30])
    assert max(pods) == 7
    assert pods[-1] == 2
    assert all(after <= before for before, after in pairwise(pods[1:]))
