"""`queue-agent setup`: what a deployment needs of its cloud, made where it is missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from queue_agent.cloud import Deployment
from queue_agent.cloud.queue_times import DAY, longest_run, retention, visibility_timeout
from queue_agent.cloud.resources import Resources, SetupStep
from queue_agent.cloud.setting_up import set_up
from queue_agent.settings.agent import Settings
from queue_agent.settings.shared import DEAD_LETTER_QUEUE_URL, JOB_TOPIC


@dataclass(frozen=True)
class QueueTimes:
    """How long things may take; what is None follows from the expected length of a job."""

    job_seconds: int
    lease: float | None
    max_receives: int
    retention_days: int | None

    def resources(self, **addresses: Any) -> Resources:
        """What is to be there at these addresses."""
        usual = int(Settings.model_fields["run_timeout"].default)
        lease = visibility_timeout(self.job_seconds) if self.lease is None else self.lease
        kept = (
            retention(
                self.max_receives,
                run_timeout=longest_run(self.job_seconds, usual=usual),
                visibility=int(lease),
            )
            if self.retention_days is None
            else self.retention_days * DAY
        )
        return Resources(lease=lease, max_receives=self.max_receives, retention=kept, **addresses)


async def setup(wanted: Resources, *, dry: bool, change: bool) -> bool:
    """Make what is missing, or with `dry` only find it; print it, and how much it is.

    Returns whether all is as it is wanted, or would be.
    """
    steps: list[SetupStep] = []

    def tell(step: SetupStep) -> None:
        print(step, flush=True)
        steps.append(step)

    deployment = await set_up(wanted, tell, dry=dry, change=change)
    if deployment is not None:
        for name, value in _settings(deployment).items():
            print(f"{name}={value}")
    Console(stderr=True).print(_sum(steps, dry=dry), style="dim")
    return not any(step.outcome == "differs" for step in steps)


def _settings(deployment: Deployment) -> Mapping[str, str]:
    """What agents, clients and `redrive` are told."""
    return {
        JOB_TOPIC.names[0]: deployment.job_topic,
        **deployment.environment(),
        DEAD_LETTER_QUEUE_URL.names[0]: deployment.dead_letter_queue_url or "",
    }


def _sum(steps: list[SetupStep], *, dry: bool) -> str:
    counts = {
        outcome: sum(step.outcome == outcome for step in steps)
        for outcome in ("made", "changed", "differs")
    }
    would = "would be " if dry else ""
    said = [f"{counts['made']} {would}made"]
    if counts["changed"]:
        said.append(f"{counts['changed']} {would}changed")
    if counts["differs"]:
        said.append(f"{counts['differs']} differ and stay so (--change changes what can be)")
    return f"{', '.join(said)}; what else was there stays as it is."
