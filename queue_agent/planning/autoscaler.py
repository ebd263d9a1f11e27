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

    def desired(self, now: float, messages: int, pods: int) -> int:
        """The number of pods to have from now on, where there are `pods`, at least one.

        The arithmetic is Kubernetes's, its odd sides too: what was added within a rate's period
        may go within it beyond the rate.
        """
        wanted = self._stabilized(now, self._wish(messages, pods), pods)
        if wanted > pods:
            wanted = min(wanted, self._limit(now, pods, self._policy.up, 1))
        elif wanted < pods:
            wanted = max(wanted, self._limit(now, pods, self._policy.down, -1))
        if wanted != pods:
            self._done.append((now, wanted - pods))
        return wanted

    def _wish(self, messages: int, pods: int) -> int:
        policy = self._policy
        if abs(messages / (policy.queue_length * pods) - 1) <= TOLERANCE:
            return pods
        wish = math.ceil(messages / policy.queue_length)
        return max(policy.min_pods, 1, min(policy.max_pods, wish))

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
