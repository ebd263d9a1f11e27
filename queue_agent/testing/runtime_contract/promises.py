"""The promises of an adapter, one test each."""

from queue_agent.testing.runtime_contract.cancelled import CancelPromises
from queue_agent.testing.runtime_contract.described import DescriptionPromises
from queue_agent.testing.runtime_contract.failures import FailurePromises
from queue_agent.testing.runtime_contract.runs import RunPromises


class RuntimeContract(DescriptionPromises, RunPromises, CancelPromises, FailurePromises):
    """Tests that any adapter must pass; subclass it and override the hooks."""
