"""How many pods a HorizontalPodAutoscaler would have, by the rules Kubernetes documents.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ and, for the arithmetic,
`pkg/controller/podautoscaler` of Kubernetes.
"""

import math
from collections import deque
from typing import Final

from queue_agent.planning.policy import FleetPolicy, ScalingRate, ScalingRules

TOLERANCE: Final = 0.1


class Autoscaler:
    """Remembers what it wanted and did, as stabilization windows and rates ask for."""

    def __init__(self, policy: FleetPolicy) -> None:
        self._policy = policy
        self._wanted: deque[tuple[float, int]] = deque()
        self._done: deque[tuple[float, int]] = deque()
        self._memory = max(policy.up.window, policy.down.window)
        self._rates = max(rate.period for rate in (*policy.up.rates, *policy.down.rates))

    def desired(self, now: float, messages: int, pods: int, *, wanted: int = 0) -> int:
        """The number of pods to have from now on, where there are `pods`, at least one.

        Of the two metrics, the queue's messages and the pods that `queue-agent scaler` has
        `wanted`, the one counts that asks for more. The arithmetic is Kubernetes's, its odd sides
        too: what was added within a rate's period may go within it beyond the rate.
        """
        length = self._policy.queue_length
        wish = max(self._wish(messages, length, pods), self._wish(wanted, 1, pods))
        desired = self._stabilized(now, wish, pods)
        if desired > pods:
            desired = min(desired, self._limit(now, pods, self._policy.up, 1))
        elif desired < pods:
            desired = max(desired, self._limit(now, pods, self._policy.down, -1))
        if desired != pods:
            self._done.append((now, desired - pods))
        return desired

    def _wish(self, value: float, target: float, pods: int) -> int:
        """Of a metric with such a target for each pod."""
        if abs(value / (target * pods) - 1) <= TOLERANCE:
            return pods
        wish = math.ceil(value / target)
        return max(self._policy.min_pods, 1, min(self._policy.max_pods, wish))

    def _stabilized(self, now: float, wish: int, pods: int) -> int:
        wanted = self._wanted
        wanted.append((now, wish))
        while now - wanted[0][0] > self._memory:
            wanted.popleft()
        up, down = self._policy.up.window, self._policy.down.window
        least = min(it for at, it in wanted if at == now or now - at < up)
        most = max(it for at, it in wanted if at == now or now - at < down)
        return min(max(pods, least), most)

    def _limit(self, now: float, pods: int, rules: ScalingRules, sign: int) -> int:
        while self._done and now - self._done[0][0] >= self._rates:
            self._done.popleft()
        limits = [self._reach(now, pods, rate, sign) for rate in rules.rates]
        return max(pods, *limits) if sign > 0 else min(pods, *limits)

    def _reach(self, now: float, pods: int, rate: ScalingRate, sign: int) -> int:
        recent = sum(change for at, change in self._done if now - at < rate.period)
        before = pods - recent
        if rate.kind == "Pods":
            return before + sign * rate.value
        if sign > 0:
            return math.ceil(before * (100 + rate.value) / 100)
        return int(before * (100 - rate.value) / 100)
