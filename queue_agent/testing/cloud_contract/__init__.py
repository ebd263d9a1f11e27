"""The promises of a cloud, one test each; every provider passes them.

    class TestMyCloud(CloudContract):
        @pytest_asyncio.fixture
        async def cloud(self) -> AsyncIterator[MyCloud]:
            async with MyCloud("…") as cloud:
                yield cloud

        async def deploy(self, cloud, **options): ...  # and a fixture `unreachable`

`CloudHooks` describes what is to be given. A cloud is asked through its ports alone
(`queue_agent.cloud`). Nothing is said of how fast it is: tests wait for what must come, and
let time pass only for leases to run out. `TenantPromises` is for those whose queues may be fair.
"""

from queue_agent.testing.cloud_contract.bucket import BucketPromises
from queue_agent.testing.cloud_contract.fifo import FifoPromises
from queue_agent.testing.cloud_contract.hooks import CloudHooks
from queue_agent.testing.cloud_contract.queue import QueuePromises
from queue_agent.testing.cloud_contract.tenants import TenantPromises
from queue_agent.testing.cloud_contract.topic import TopicPromises

__all__ = [
    "BucketPromises",
    "CloudContract",
    "CloudHooks",
    "FifoPromises",
    "QueuePromises",
    "TenantPromises",
    "TopicPromises",
]


class CloudContract(QueuePromises, FifoPromises, TopicPromises, BucketPromises):
    """Tests that any cloud must pass; subclass it and override the hooks."""
