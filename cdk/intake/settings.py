"""What the function is told by its environment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class IntakeSettings:
    """Where jobs go, and which are accepted."""

    topic_arn: str
    bucket: str
    folders: Mapping[str, tuple[str, ...]]
    """By runtime: where its results may lie. The first runtime is for jobs that name none."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read `JOB_TOPIC_ARN`, `RESULTS_BUCKET` and `RUNTIMES` (JSON: folders by runtime)."""
        runtimes: dict[str, list[str]] = json.loads(environment["RUNTIMES"])
        return cls(
            topic_arn=environment["JOB_TOPIC_ARN"],
            bucket=environment["RESULTS_BUCKET"],
            folders={name: tuple(folders) for name, folders in runtimes.items()},
        )
