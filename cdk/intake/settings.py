"""What the function is told by its environment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from intake.capacity import SpotRuntime
from queue_agent.wire.capacity import SpotEstimate
from queue_agent.wire.submission import Terms


@dataclass(frozen=True)
class IntakeSettings:
    """Where jobs go, and which are accepted."""

    topic_arn: str
    bucket: str
    terms: Terms
    spot: Mapping[str, SpotRuntime]
    """Runtimes that have queues for spot and for on demand."""
    fair: bool
    """Whether queues are told whose jobs are."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read `JOB_TOPIC_ARN`, `RESULTS_BUCKET`, `RUNTIMES` (JSON: folders by runtime), and
        `SPOT` (JSON by runtime: `job`, `start`, `on_demand_stays`, and `queues` by priority), and
        `FAIR` (JSON, true)."""
        runtimes: dict[str, list[str]] = json.loads(environment["RUNTIMES"])
        return cls(
            topic_arn=environment["JOB_TOPIC_ARN"],
            bucket=environment["RESULTS_BUCKET"],
            terms=Terms.among(runtimes),
            fair=json.loads(environment.get("FAIR", "true")),
            spot={
                name: SpotRuntime(
                    SpotEstimate(it["job"], it["start"], on_demand_stays=it["on_demand_stays"]),
                    it["queues"],
                )
                for name, it in json.loads(environment.get("SPOT", "{}")).items()
            },
        )
