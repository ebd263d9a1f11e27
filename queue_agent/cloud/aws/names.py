"""Topics and queues by names or addresses, as those of one account in one region."""

import re
from dataclasses import dataclass
from typing import Any, Final

from queue_agent.cloud.aws.addresses import queue_url, topic
from queue_agent.cloud.aws.attributes import is_fifo
from queue_agent.cloud.aws.errors import translated
from queue_agent.wire.errors import SettingsError
from queue_agent.wire.priorities import NORMAL

_NAME: Final = re.compile(r"[\w-]{1,75}(\.fifo)?", re.ASCII)
"""SQS's rule with room for an ending, which is narrower than SNS's:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
"""


@dataclass(frozen=True)
class Account:
    """Whose credentials these are, and where."""

    number: str
    partition: str
    region: str

    @classmethod
    async def of(cls, sts: Any, region: str) -> "Account":
        """The account that the process's credentials belong to; nobody needs a right for that.

        Raises:
            Unavailable: nobody says so.
        """
        with translated("find out whose credentials these are"):
            caller = await sts.get_caller_identity()
        return cls(caller["Account"], caller["Arn"].split(":")[1], region)

    def topic(self, text: str) -> str:
        """The ARN of a topic.

        Raises:
            SettingsError: it is none, or another account's.
        """
        if not text.startswith("arn:"):
            return f"arn:{self.partition}:sns:{self.region}:{self.number}:{_checked(text)}"
        try:
            arn = topic(text)
        except ValueError as error:
            raise SettingsError(f"{text} {error}.") from error
        self._own(arn, arn.split(":")[4])
        return arn

    def queue(self, text: str) -> str:
        """The name of a queue.

        Raises:
            SettingsError: it is none, or another account's.
        """
        if "/" not in text:
            return _checked(text)
        try:
            account, name = queue_url(text).rstrip("/").split("/")[-2:]
        except ValueError as error:
            raise SettingsError(f"{text} {error}.") from error
        self._own(text, account)
        return _checked(name)

    def queue_arn(self, name: str) -> str:
        """The ARN of the queue of this name."""
        return f"arn:{self.partition}:sqs:{self.region}:{self.number}:{name}"

    def _own(self, address: str, account: str) -> None:
        if account != self.number:
            raise SettingsError(
                f"{address} belongs to account {account}, and these credentials to {self.number}: "
                "setup makes things in an account of its own."
            )


def dead_letters_name(queue: str) -> str:
    """What the dead letters of a queue are called unless somebody says: as in the CDK app."""
    return f"{queue.removesuffix('.fifo')}-dead{'.fifo' if is_fifo(queue) else ''}"


def named(queue: str, priority: str) -> str:
    """What the queue of a priority is called beside the usual one: as in the CDK app."""
    if priority == NORMAL:
        return queue
    stem, end = queue.removesuffix(".fifo"), ".fifo" if is_fifo(queue) else ""
    return _checked(f"{stem}-{priority}{end}")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} can be no queue's or topic's name here: up to 75 of A-Z a-z 0-9 _ and -, "
            "then .fifo where an order is to be kept."
        )
    return name
