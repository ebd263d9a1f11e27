"""How long queues hide and keep messages: from the expected length of a job, and SQS's limits."""

from typing import Final

DAY: Final = 86_400

LONGEST_HOLD: Final = 43_200
"""All that one receipt of a message may last, however often its lease is renewed:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""
LONGEST_RUN: Final = LONGEST_HOLD - 1_800
"""Half an hour of it is left to wait for the runtime, and to store what it made."""

LONGEST_KEPT: Final = 14
"""Days, SQS's most; dead letters are kept for so long, counted from their publication:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
"""

RUNS_IN_LIMIT: Final = 3
"""A run may take so many times what is expected."""


def longest_run(job_seconds: int, *, usual: int) -> int:
    """Seconds after which a run is interrupted; `usual` at least."""
    return min(LONGEST_RUN, max(usual, RUNS_IN_LIMIT * job_seconds))


def visibility_timeout(job_seconds: int) -> int:
    """Seconds for which a lost pod keeps its job from others."""
    return min(LONGEST_HOLD, max(60, 2 * job_seconds))


def retention(max_receives: int, *, run_timeout: int, visibility: int) -> int:
    """Seconds for which a queue keeps a job: all attempts fit in, and its dead letter lasts on."""
    attempts = max_receives * (run_timeout + visibility)
    return min((LONGEST_KEPT - 1) * DAY, max((LONGEST_KEPT - 4) * DAY, attempts))
