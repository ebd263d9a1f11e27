"""How long each call to the cloud takes, beside the work of serving it."""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Latency:
    """Seconds per operation; half is spent on the way there, half on the way back."""

    name: str
    default: float = 0.0
    operations: dict[str, float] = field(default_factory=dict)
    """By operation or by service (``sqs``, ``sns``, ``s3``, ``input``), the operation first."""
    with_input: bool = False
    """Whether the jobs of this profile have an input image to download."""

    def of(self, service: str, operation: str) -> float:
        return self.operations.get(operation, self.operations.get(service, self.default))


LATENCIES: Final = {
    latency.name: latency
    for latency in (
        Latency("0 ms"),
        Latency("30 ms", default=0.030, operations={"input": 0.0}),
        Latency(
            "realistic + input",
            operations={
                "sqs": 0.010,
                "sns": 0.015,
                "s3": 0.015,
                "PutObject": 0.080,
                "input": 0.200,
            },
            with_input=True,
        ),
    )
}
