"""What the function is told by its environment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from queue_agent.wire.submission import Terms


@dataclass(frozen=True)
class IntakeSettings:
    """Where jobs go, and which are accepted."""

    topic_arn: str
    bucket: str
    terms: Terms

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read `JOB_TOPIC_ARN`, `RESULTS_BUCKET` and `RUNTIMES` (JSON: folders by runtime)."""
        runtimes: dict[str, list[str]] = json.loads(environment["RUNTIMES"])
        return cls(
            topic_arn=environment["JOB_TOPIC_ARN"],
            bucket=environment["RESULTS_BUCKET"],
            terms=Terms.among(runtimes),
        )
