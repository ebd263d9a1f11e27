"""Which model a job names."""

from collections.abc import Mapping

from queue_agent.wire.job import Job


def model_of(job: Job) -> str | None:
    """The model of a job in the portable form; None where it names none."""
    named = job.content.get("model")
    if named is None:
        options = job.content.get("override_settings")
        named = options.get("sd_model_checkpoint") if isinstance(options, Mapping) else None
    return named if isinstance(named, str) else None
